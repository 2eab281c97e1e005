"""A stand-in for the Kubernetes API calls that an endpoint picker makes and that kubectl reads with."""
