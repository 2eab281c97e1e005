"""Words of a script as texts: parameters, arithmetic, patterns, tests; or why a text cannot be known."""
