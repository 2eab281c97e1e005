"""What Envoy and the picker say to each other: HTTP/2, gRPC, ext_proc, TLS."""
