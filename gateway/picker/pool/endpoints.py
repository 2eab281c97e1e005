"""Endpoints of the pool, what is known of them, and the candidates of one decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class EndpointMetrics:
    """What one endpoint last said of itself. Replaced as a whole by each scrape, so holding it is a snapshot.

    A field the endpoint never reported stays at its zero, as in the EPP: such an endpoint looks idle.
    """

    waiting: int = 0
    running: int = 0
    kv_usage: float = 0.0  # 0..1
    active_models: frozenset[str] = frozenset()
    waiting_models: frozenset[str] = frozenset()
    max_active_models: int = 0
    block_size: int = 0  # tokens
    num_blocks: int = 0
    custom: Mapping[str, float] = field(default_factory=dict)
    updated_at: float = float("-inf")  # monotonic seconds of the last scrape that said anything

    def age(self, now: float) -> float:
        """Seconds since the last scrape that said anything; infinite when there was none."""
        return now - self.updated_at


NEVER_SCRAPED = EndpointMetrics()


@dataclass(slots=True, eq=False)
class Endpoint:
    """One place a request can go to: a pod and one of its target ports."""

    name: str
    namespace: str
    address: str
    port: int
    metrics_host: str  # host:port that is scraped
    labels: Mapping[str, str]
    pod_name: str
    metrics: EndpointMetrics = NEVER_SCRAPED
    scrapes: int = 0
    scrape_failures: int = 0
    id: str = field(init=False)
    """What the EPP calls the NamespacedName."""
    host_port: str = field(init=False)
    """What the data plane is told, as net.JoinHostPort writes it."""

    def __post_init__(self) -> None:
        self.id = f"{self.namespace}/{self.name}"
        host = f"[{self.address}]" if ":" in self.address else self.address
        self.host_port = f"{host}:{self.port}"


@dataclass(slots=True, eq=False)
class Candidate:
    """An endpoint during one decision: its metrics as they were when it began, and what producers add."""

    endpoint: Endpoint
    metrics: EndpointMetrics
    inflight_requests: int = 0
    inflight_tokens: int = 0
    own_tokens: int = 0  # what this request would add
    headroom: tuple[float, float] | None = None  # ms that are left of the objectives for TTFT and TPOT
    prefix_matched: int = 0  # blocks
    prefix_total: int = 0  # blocks
    prefix_block_tokens: int = 0
