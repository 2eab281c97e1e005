"""The picker as a whole: from options to open ports, and back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from gateway.picker import compat as compat_table
from gateway.picker.config import (
    EndpointPickerConfig,
    duration_of,
    parse_config,
    read_yaml,
    without_effect,
)
from gateway.picker.decisions import DecisionLog
from gateway.picker.director import Director
from gateway.picker.errors import PickerConfigError
from gateway.picker.options import Options
from gateway.picker.plugins.base import load_plugin_file
from gateway.picker.plugins.builtin import BUILTIN
from gateway.picker.plugins.loader import Loaded, Loader
from gateway.picker.plugins.precise import Precise, PreciseProducer, PreciseScorer
from gateway.picker.plugins.prefix_plugins import Tracking
from gateway.picker.pool.datastore import Datastore
from gateway.picker.pool.discovery import WatchedFile, endpoints_file, objects_file, watch
from gateway.picker.pool.endpoints import Endpoint
from gateway.picker.pool.exposition import PickerMetrics
from gateway.picker.pool.inflight import InflightLoad
from gateway.picker.pool.labels import parse_selector
from gateway.picker.pool.metric_specs import ExtractorParameters, build_engines
from gateway.picker.pool.rendering import Renderer
from gateway.picker.pool.scrape import Scraper, ScrapeSettings
from gateway.picker.tracing import PickSpans
from gateway.picker.wire.grpc import GrpcPort
from gateway.picker.wire.limits import Held
from gateway.picker.wire.server import MetricsPort, ext_proc_methods, health_methods
from gateway.picker.wire.tls import load_pair, self_signed_pair
from kit.prometheus import Gauge

# How often endpoints that have left the pool are dropped from prefix indexes, as in the EPP.
FORGET_S = 120.0
_log = logging.getLogger("picker")


class Picker:
    """One picker process: `start`, then `stop`. Before and after, nothing listens and no file is held."""

    def __init__(self, options: Options, datastore: Datastore | None = None) -> None:
        self.options = options
        text = _config_text(options)
        name = options.compat
        self.compat = (
            compat_table.by_name(name) if name else compat_table.for_document(read_yaml(text or "{}"))
        )
        config = parse_config(text, self.compat) if text else None
        for path in without_effect(config) if config else ():
            _log.warning("%s has no effect in the reference picker, only in the EPP", path)
        self._rng = random.Random(options.seed)
        self._inflight = InflightLoad()
        self._loaded = self._load(config)
        self.settings = self._scrape_settings()
        self.engines = build_engines(self.compat, self._metric_overrides(), self._extractor())
        self.datastore = datastore or Datastore(
            options.pool_name or options.endpoint_selector, options.pool_namespace
        )
        self.metrics = PickerMetrics(self.compat)
        self._files = self._watched_files()
        self._decisions: DecisionLog | None = None
        self._spans: PickSpans | None = None
        self._scraper = Scraper(self.engines, self.settings, self.compat)
        self._tasks: list[asyncio.Task[None]] = []
        self._stops: list[Callable[[], Awaitable[None]]] = []
        self.director: Director | None = None

    def _load(self, config: EndpointPickerConfig | None) -> Loaded:
        registry = dict(BUILTIN)
        for path in self.options.plugin:
            registry.update(load_plugin_file(path))
        experimental = self.options.allow_experimental_plugins
        return Loader(self.compat, registry, self._rng, self._inflight, _log.warning, experimental).load(
            config
        )

    def _metric_overrides(self) -> dict[str, str]:
        overrides = self.options.metric_overrides
        if overrides and not self.compat.metric_flags:
            raise PickerConfigError(
                f"the --*-metric flags are deprecated and cannot be used with {self.compat.name}; configure "
                "metrics via engineConfigs of core-metrics-extractor in the EndpointPickerConfig instead"
            )
        return overrides

    def _extractor(self) -> ExtractorParameters | None:
        parameters = self._loaded.settings_of("core-metrics-extractor")
        if parameters is None:
            return None
        try:
            return msgspec.convert(parameters, ExtractorParameters)
        except msgspec.ValidationError as error:
            raise PickerConfigError(f"core-metrics-extractor: {error}") from None

    def _scrape_settings(self) -> ScrapeSettings:
        """The flags, with metrics-data-source's parameters over them."""
        options = self.options
        source = self._loaded.settings_of("metrics-data-source") or {}
        interval = options.refresh_metrics_interval
        if "interval" in source:
            interval = duration_of(str(source["interval"]), "metrics-data-source.interval")
        if self.compat.plugin_detector:
            interval = max(interval, 0.05)  # the data layer's base tick
        scheme = source.get("scheme", options.model_server_metrics_scheme)
        if scheme not in ("http", "https"):
            raise PickerConfigError(f"metrics-data-source: scheme {scheme!r} is neither http nor https")
        insecure = options.model_server_metrics_https_insecure_skip_verify
        return ScrapeSettings(
            interval=interval,
            timeout=self.compat.scrape_timeout,
            scheme=scheme,
            path=str(source.get("path", options.model_server_metrics_path)),
            verify_tls=not source.get("insecureSkipVerify", insecure),
        )

    def _watched_files(self) -> list[WatchedFile]:
        options = self.options
        discovery = self._loaded.settings_of("file-discovery") or {}
        path = options.endpoints_file or str(discovery.get("path", ""))
        if not path:
            raise PickerConfigError(
                "--endpoints-file is missing (or a file-discovery plugin with a path in the configuration)"
            )
        source = self._loaded.settings_of("metrics-data-source") or {}
        port = int(source.get("port", options.model_server_metrics_port) or 0)
        selector = parse_selector(options.endpoint_selector) if options.endpoint_selector else None
        files = [endpoints_file(path, self.datastore, port, selector)]
        if options.objectives_file:
            files.append(objects_file(options.objectives_file, self.datastore))
        return files

    async def start(self) -> str:
        """Open everything; the line that says where. PickerConfigError when a file or port cannot be had."""
        options = self.options
        if options.decision_log:
            self._decisions = DecisionLog(options.decision_log, brief=options.decision_log_brief)
        self.datastore.on_added.append(self._scraper.add)
        self.datastore.on_removed.append(self._scraper.remove)
        if options.otlp_traces:
            self._spans = PickSpans(options.otlp_traces, self.datastore.pool, options.pool_namespace)
        self.director = self.direct(self._decisions)
        self._wire_metrics()
        for precise in self._precise():
            precise.subscriber.start(options.bind_address)
            self.datastore.on_added.append(precise.subscriber.add)
            self.datastore.on_removed.append(precise.subscriber.remove)
        for file in self._files:
            file.load()
        self._tasks = [
            asyncio.create_task(watch(self._files)),
            asyncio.create_task(self._forget_for_ever()),
        ]
        return await self._open_ports(self.director)

    def direct(self, decisions: DecisionLog | None) -> Director:
        """The director over these parts; it hears of endpoints that leave."""
        options = self.options
        self.datastore.on_removed.append(self._forget)
        return Director(
            self.compat,
            self.datastore,
            self._loaded,
            inflight=self._inflight,
            metrics=self.metrics,
            rng=self._rng,
            decisions=decisions,
            subset_filter=not options.disable_endpoint_subset_filter,
            verbosity=options.v,
            renderer=Renderer() if self._precise() and self._loaded.renders(self.compat) else None,
            spans=self._spans,
        )

    def forget_gone(self) -> None:
        """Drop endpoints that have left the pool from prefix indexes; the picker does it every FORGET_S."""
        for plugin in self._loaded.plugins.values():
            if isinstance(plugin, Tracking):
                plugin.tracker.forget(self.datastore.endpoints)

    def load_objects(self) -> None:
        """Read the objectives file, if there is one. Raises PickerConfigError."""
        for file in self._files[1:]:
            file.load()

    async def _open_ports(self, director: Director) -> str:
        options, host = self.options, self.options.bind_address
        health = health_methods(lambda: self.datastore.synced)
        methods = ext_proc_methods(director, options.emit_endpoint_scores)
        held = Held()
        served = {**methods, **health} if options.health_checking else methods
        ext_proc = GrpcPort(served, held, options.grpc_max_recv_msg_size)
        health_port = GrpcPort(health, held)
        http = MetricsPort(
            {
                "/metrics": (
                    "text/plain; version=0.0.4; charset=utf-8",
                    lambda: self.metrics.registry.render().encode(),
                ),
                "/endpoints": ("application/json", self._endpoints_page),
            }
        )
        tls = None
        if options.secure_serving:
            tls = load_pair(options.cert_path) if options.cert_path else self_signed_pair()
        await http.start(host, options.metrics_port)
        self._stops.append(http.stop)
        await health_port.start(host, options.grpc_health_port)
        self._stops.append(lambda: health_port.stop(0))
        await ext_proc.start(host, options.grpc_port, tls)
        self._stops.append(lambda: ext_proc.stop(options.drain_timeout))
        return (
            f"ready ext_proc={host}:{ext_proc.port} tls={'on' if tls else 'off'} "
            f"health={host}:{health_port.port} metrics={host}:{http.port} compat={self.compat.name} "
            f"endpoints={len(self.datastore.endpoints)}"
        )

    async def stop(self) -> None:
        """Finish open streams within the drain timeout, then close everything."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self.director is not None and self.director.flow_controller is not None:
            self.director.flow_controller.close()
        while self._stops:
            await self._stops.pop()()
        self._scraper.stop()
        for precise in self._precise():
            precise.subscriber.stop()
        if self._decisions is not None:
            self._decisions.close()
            self._decisions = None
        if self._spans is not None:
            await asyncio.to_thread(self._spans.close)

    def _precise(self) -> list[Precise]:
        """The parts of plugins that hear of the engines' own caches."""
        plugins = self._loaded.plugins.values()
        return [p.precise for p in plugins if isinstance(p, PreciseProducer | PreciseScorer)]

    def _wire_metrics(self) -> None:
        metrics = self.metrics
        metrics.info.set(1.0, "reference-picker", self.compat.name)
        metrics.watch_pool(self.datastore, self._inflight, self.options.metrics_staleness_threshold)
        trackers = [plugin for plugin in self._loaded.plugins.values() if isinstance(plugin, Tracking)]
        for tracking in trackers:
            tracking.on_match = self._matched
        metrics.registry.add(
            Gauge(
                "inference_extension_prefix_indexer_size",
                "Blocks that the prefix indexes remember.",
                (),
                lambda: [((), float(sum(sum(t.tracker.index.sizes().values()) for t in trackers)))],
            )
        )
        controller = self.director.flow_controller if self.director else None
        if controller is not None:
            metrics.watch_flow_control(self.datastore.pool, controller)

    def _matched(self, matched: int, total: int) -> None:
        self.metrics.prefix_hit_bytes.observe(matched)
        if total > 0:
            self.metrics.prefix_hit_ratio.observe(matched / total)

    def _forget(self, endpoint: Endpoint) -> None:
        self._inflight.forget(endpoint.id)

    async def _forget_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FORGET_S)
            self.forget_gone()

    def _endpoints_page(self) -> bytes:
        """What is known of each endpoint, for people and for `simfleet ps`."""
        now = time.monotonic()
        rows = []
        for endpoint in self.datastore.endpoints:
            metrics = endpoint.metrics
            age = metrics.age(now)
            rows.append(
                {
                    "name": endpoint.name,
                    "namespace": endpoint.namespace,
                    "endpoint": endpoint.host_port,
                    "waiting": metrics.waiting,
                    "running": metrics.running,
                    "kv_usage": metrics.kv_usage,
                    "active_models": sorted(metrics.active_models),
                    "waiting_models": sorted(metrics.waiting_models),
                    "max_active_models": metrics.max_active_models,
                    "block_size": metrics.block_size,
                    "num_blocks": metrics.num_blocks,
                    "age_s": None if age == float("inf") else round(age, 4),
                    "scrapes": endpoint.scrapes,
                    "scrape_failures": endpoint.scrape_failures,
                    "inflight_requests": self._inflight.requests(endpoint.id),
                }
            )
        return msgspec.json.encode({"pool": self.datastore.pool, "endpoints": rows})


def _config_text(options: Options) -> str:
    if not options.config_file:
        return options.config_text
    try:
        return Path(options.config_file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PickerConfigError(
            f"failed to load config from a file '{options.config_file}' - {error}"
        ) from None
