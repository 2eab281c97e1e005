"""The routing sidecar of a decoding pod: requests whose header names a prefill pod are prefilled there."""
