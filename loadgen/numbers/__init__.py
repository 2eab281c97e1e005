"""Quantities, statistics, distributions and the line-by-line files they are kept in."""
