"""Speculative decoding: several tokens of a sequence in one step."""
