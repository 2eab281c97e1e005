"""Manifests to an Envoy configuration, as Istio's pilot (1.28 to 1.31) translates them.

Configurations are plain dicts in Envoy's JSON form. `config.build()` is the whole; the other modules are its
parts, from the inside out: clusters, ext_proc, matches, rewrites, routes, listeners. No module here does I/O
but `eds`, which writes the endpoint files that a running Envoy watches.
"""
