"""Kustomize directories without kubectl: what `kubectl kustomize` would print, or an error."""
