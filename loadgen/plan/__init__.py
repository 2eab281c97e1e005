"""The list of intended requests, from one seed."""
