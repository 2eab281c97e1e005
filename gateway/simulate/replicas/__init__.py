"""Replicas in the world: their engines, what they read of a request, and what the picker sees of them."""
