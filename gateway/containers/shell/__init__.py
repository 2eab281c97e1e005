"""A shell script followed without running anything: what it starts, with which arguments and variables."""
