"""The wire: listener, writer, authentication, TLS, CORS."""
