"""Several arms in turn, and what can be said of their differences."""
