"""What of a request counts as its prompt, in pseudo-tokens, and which prefixes of it were sent where."""
