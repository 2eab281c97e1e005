"""Values made to measure: JSON that meets a schema, text that meets a pattern, within a budget of work."""
