"""N replicas in one process or several, each on its own address."""
