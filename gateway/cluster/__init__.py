"""A Kubernetes API on loopback that kubectl writes to, and controllers that run what is written."""
