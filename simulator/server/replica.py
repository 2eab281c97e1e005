"""One replica: configuration, engine, driver and the state that routes read and change.

A replica is an object, not a process, and one port is one replica: the data-parallel ranks of a pod are
replicas that know each other as `peers`. What a process shares (timer, tokenizer, templates) comes in from
outside as `Shared`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from kit.otlp import Exporters
from simulator.config.serve import LatencyConfig, ServeConfig
from simulator.engine.outputs import StepOutput
from simulator.engine.request import LoRARequest
from simulator.server.balance import Balancer
from simulator.server.driver import Driver
from simulator.server.kv_events import KVEventPublisher
from simulator.server.kv_links import KVLinks
from simulator.server.metrics.engines import merged
from simulator.server.metrics.exposition import Exposition, Templates
from simulator.server.metrics.fake_metrics import FakeStats
from simulator.server.metrics.http_metrics import HTTPMetrics
from simulator.server.metrics.process_metrics import ProcessMetrics
from simulator.server.metrics.tracing import spans_of
from simulator.server.prepared import Prepared
from simulator.server.timer import Timer
from simulator.sources.parts import Parts


@dataclass(slots=True)
class Shared:
    """What the replicas of one process have in common. `process` is set where there is only one replica."""

    timer: Timer
    parts: Parts = field(default_factory=Parts)
    templates: Templates = field(default_factory=Templates)
    kv_links: KVLinks = field(default_factory=KVLinks)
    process: ProcessMetrics | None = None
    exporters: Exporters = field(default_factory=Exporters)


@dataclass(slots=True)
class LoRAEntry:
    """An adapter as /v1/models lists it."""

    request: LoRARequest
    base_model_name: str | None = None


class LoRARegistry:
    """The adapters a replica answers to, by name, in order of registration. Ids count from 1, never again."""

    __slots__ = ("_entries", "_last_id")

    def __init__(self) -> None:
        self._entries: dict[str, LoRAEntry] = {}
        self._last_id = 0

    def add(self, name: str, path: str, base_model_name: str | None = None) -> LoRAEntry:
        """Register, or replace in place under the id it has."""
        known = self._entries.get(name)
        if known is None:
            self._last_id += 1
        int_id = known.request.int_id if known else self._last_id
        entry = LoRAEntry(LoRARequest(name, int_id, path), base_model_name)
        self._entries[name] = entry
        return entry

    def remove(self, name: str) -> LoRAEntry | None:
        """Forget the name; requests in flight keep their adapter. None: it was not there."""
        return self._entries.pop(name, None)

    def get(self, name: str) -> LoRAEntry | None:
        return self._entries.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[LoRAEntry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(slots=True)
class ReplicaState:
    """What changes while a replica lives, besides the engine."""

    started: float  # monotonic
    ready_at: float  # monotonic; readiness routes answer 503 before (--startup-duration)
    draining: bool = False  # readiness 503, requests are still served
    shutting_down: bool = False  # vLLM's drain: requests that come now end at once with finish_reason abort
    paused: bool = False  # /pause: 503 for generating routes
    sleep_level: int | None = None  # None: awake
    awake_tags: frozenset[str] = frozenset()  # woken up one by one, while the others sleep
    weight_version: str = "default"
    latency: LatencyConfig | None = None  # None: the flags'; else what /admin/config made of them
    server_load: int = 0  # /load, with --enable-server-load-tracking

    def is_ready(self) -> bool:
        return not (self.draining or self.shutting_down) and time.monotonic() >= self.ready_at


class Replica:
    """One vLLM server on one port.

    Made in a running loop; raises ConfigError for files that cannot be used.
    """

    __slots__ = (
        "_created", "_links", "balancer", "config", "driver", "engine", "exposition", "host", "http",
        "kv_events", "loras",
        "name", "peers", "port", "prepared", "rank", "spans", "state", "tokenizer",
    )  # fmt: skip

    def __init__(
        self, config: ServeConfig, shared: Shared, *, name: str, host: str, port: int, rank: int = 0
    ) -> None:
        self.config = config
        self.name = name
        self.host = host
        self.port = port  # the one it is reached by
        self.rank = rank
        self.balancer: Balancer | None = None  # of the rank whose port stands for all
        self.peers: tuple[Replica, ...] = (self,)  # all ranks of this pod, this one among them
        self.tokenizer = shared.parts.tokenizer(config.text)
        self.engine = shared.parts.engine(config)
        self.driver = Driver(self.engine, shared.timer, batch_rounds=config.latency.kind == "zero")
        self.http = HTTPMetrics()
        self.prepared = Prepared(config, port, shared.timer.turns)
        self.loras = LoRARegistry()
        for module in config.lora_modules:
            self.loras.add(module.name, module.path, module.base_model_name)
        now = time.monotonic()
        self.state = ReplicaState(started=now, ready_at=now + config.startup_duration)
        self._created = int(time.time())
        stats = self.engine.stats
        if config.fake_metrics is not None:
            stats = FakeStats(
                config.fake_metrics,
                config.engine.max_model_len,
                tuple(stats.request_success),
                config.fake_metrics_refresh_interval,
            )
        self.exposition = Exposition(
            config,
            stats,
            shared.templates,
            rank=rank,
            http=self.http,
            lag=self.driver.lag,
            process=shared.process,
        )
        self.kv_events: KVEventPublisher | None = None
        if config.kv_events.enabled and config.kv_events.publisher == "zmq":
            rank = config.data_parallel_rank or rank
            self.kv_events = KVEventPublisher(config.kv_events, rank, self.host)
        self._links: KVLinks | None = None
        if config.kv_connector is not None:
            self._link(shared.kv_links)
        self.spans = spans_of(config, shared.exporters, name)
        self._watch_steps()
        self.driver.on_death = self._die

    def _link(self, links: KVLinks) -> None:
        """Let the engine's connector speak with those of the other engines here."""
        transfers = self.engine.transfers
        if transfers.engine_id and self.rank:
            transfers.engine_id = f"{transfers.engine_id}_dp{self.rank}"
        elif not transfers.engine_id:
            transfers.engine_id = str(uuid.uuid4())
        self._links = links
        links.join(transfers.engine_id, self.driver)

    def _watch_steps(self) -> None:
        """Hand each step to those who need every one; most replicas have nobody who does."""
        lora = self.exposition.lora
        watchers = [
            *([lora.on_step] if lora is not None and lora.wants_steps else []),
            *([self.kv_events.on_step] if self.kv_events is not None else []),
        ]
        if not watchers:
            return

        def on_step(step: StepOutput) -> None:
            for watcher in watchers:
                watcher(step)

        self.driver.on_step = watchers[0] if len(watchers) == 1 else on_step

    def _die(self) -> None:
        """The engine is dead: /health answers 503, requests in flight get vLLM's error 500."""
        self.prepared.faults.unhealthy = True
        for generation in list(self.prepared.active):
            generation.fail()

    def stand_for(self, ranks: tuple[Replica, ...]) -> None:
        """All ranks are reached by the port of this one: what belongs to the port is theirs together."""
        if len(ranks) < 2:
            return
        self.balancer = Balancer()
        for rank in ranks:
            rank.http, rank.loras, rank.state = self.http, self.loras, self.state
            rank.exposition.rejections = self.exposition.rejections
            rank.exposition.tool_calls = self.exposition.tool_calls

    @property
    def load(self) -> tuple[int, int, int, float]:
        """Requests in flight, waiting and running, and the share of the KV cache in use."""
        stats = self.engine.stats
        waiting, running = stats.num_requests_waiting, stats.num_requests_running
        return self.driver.num_unfinished, waiting, running, stats.kv_cache_usage

    @property
    def tells_drafts(self) -> bool:
        """Whether answers tell how their drafts fared."""
        return self.config.per_request_spec_decode_metrics != "none" and self.config.engine.spec is not None

    def metrics(self) -> bytes:
        """The body of GET /metrics; its content type is `exposition.content_type`."""
        overrides = self.prepared.faults.metrics_override
        if self.balancer is None:
            return self.exposition.render(overrides)
        pages = [peer.exposition.render(overrides).decode() for peer in self.peers]
        return merged(pages).encode()

    def count_rejection(self, reason: str) -> None:
        """vllm:admission_rejections_total; `reason` is max_num_queued_reqs or max_num_queued_tokens."""
        self.exposition.rejections[reason] += 1

    def count_tool_parser(self, mode: str, outcome: str, route: str, times: int = 1) -> None:
        """vllm:tool_call_parser_invocations_total."""
        self.exposition.tool_calls[f"{mode},{outcome},{route}"] += times

    def close(self) -> None:
        """Stop stepping and publishing; the sockets are the fleet's."""
        self.driver.close()
        if self._links is not None:
            self._links.leave(self.engine.transfers.engine_id, self.driver)
        self.driver.on_step = self.driver.on_death = None  # no circle is left behind
        self.peers = ()
        if self.kv_events is not None:
            self.kv_events.close()
