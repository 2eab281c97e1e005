"""Manifests, picker, engines and a plan of load in one virtual clock (`simfleet simulate`)."""
