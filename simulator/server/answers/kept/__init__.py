"""Responses that outlive the request that asked for them."""
