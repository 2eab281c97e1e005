"""Filters, scorers and pickers, and the scheduler that runs them as a profile says."""
