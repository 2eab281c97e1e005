"""What a run's records say of routing, prefix caches, adapters and recovery."""
