"""Kubernetes manifests as typed data: files and folders in, resources and their relations out."""
