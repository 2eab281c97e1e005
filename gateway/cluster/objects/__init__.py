"""Kubernetes objects as data: kinds, schemas, defaults, validation, patches. No I/O."""
