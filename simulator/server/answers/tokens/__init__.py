"""Answers of the routes that take and give token ids, and text made of such ids."""
