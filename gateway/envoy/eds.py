"""Endpoint files: one per cluster, replaced by rename, so that Envoy reads each state whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from gateway.envoy.clusters import ClusterSpec

Address = tuple[str, int]


def write_endpoints(spec: ClusterSpec, endpoints: Iterable[Address], version: int) -> None:
    """Tell Envoy the endpoints of one cluster; it watches for the rename."""
    members = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
        for host, port in endpoints
    ]
    assignment = {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": spec.name,
        "endpoints": [{"lb_endpoints": members}] if members else [],
    }
    replace_file(spec.eds_file, json.dumps({"version_info": str(version), "resources": [assignment]}))


def replace_file(path: Path, text: str) -> None:
    """Write a file by rename: readers see the old content or the new, never a part. OSError names one."""
    scratch = path.with_name(f".{path.name}.tmp")
    try:
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk is told by a write, which knows no name
        raise
