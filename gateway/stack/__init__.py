"""A running stack: the plan made from manifests, its processes, ports, pods and directory."""
