"""The command line of a replica as data: what flags there are, how they are written and what they come to."""
