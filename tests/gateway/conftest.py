"""gRPC's fork handlers are off: a test's own gRPC threads would break the child before it becomes Envoy."""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
