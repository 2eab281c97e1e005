"""The HTTP side: what a request asks for, and the answers that client-go expects."""
