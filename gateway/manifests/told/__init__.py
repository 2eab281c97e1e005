"""What of a set of manifests is not read or not simulated, by name and with what follows."""
