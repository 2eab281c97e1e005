"""What a container starts: its command, args and scripts read as a shell would, and nothing of it run."""
