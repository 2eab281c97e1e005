"""The picker's own metrics under the EPP's names (epp.md 4.6); llm-d's names stand beside the older ones."""

from __future__ import annotations

import time

from gateway.picker.compat import Compat
from gateway.picker.flowcontrol import FlowController
from gateway.picker.pool.datastore import Datastore
from gateway.picker.pool.inflight import InflightLoad
from kit.prometheus import Counter, Gauge, Histogram, Registry

NAMES = 1000  # of models, and of flows, as in llm-d-router
_MODEL = ("model_name", "target_model_name")
_LATENCY = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
    120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
)  # fmt: skip
_SHORT = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_QUEUE = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_NTPOT = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES = tuple(64 * 2**power for power in range(25))
# 32778 is the EPP's own.
_RESPONSES = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32778, 65536)
_TOKENS = (*_RESPONSES, 131072, 262144, 524288, 1048576)
_RATIOS = tuple(tenth / 10 for tenth in range(11))
_HIT_BYTES = (0, *(2**power for power in range(4, 17)))

# llm-d-router's names (docs/metrics.md) of what GIE called otherwise.
_LLMD_NAMES = {
    "inference_objective_request_total": "llm_d_epp_request_total",
    "inference_objective_request_error_total": "llm_d_epp_request_error_total",
    "inference_objective_request_duration_seconds": "llm_d_epp_request_duration_seconds",
    "inference_objective_request_sizes": "llm_d_epp_request_size_bytes",
    "inference_objective_response_sizes": "llm_d_epp_response_size_bytes",
    "inference_objective_input_tokens": "llm_d_epp_request_input_tokens",
    "inference_objective_output_tokens": "llm_d_epp_request_output_tokens",
    "inference_objective_prompt_cached_tokens": "llm_d_epp_request_cached_tokens",
    "inference_objective_running_requests": "llm_d_epp_request_running",
    "inference_objective_normalized_time_per_output_token_seconds": "llm_d_epp_request_ntpot_seconds",
    "inference_objective_request_ttft_seconds": "llm_d_epp_request_ttft_seconds",
    "inference_pool_average_kv_cache_utilization": "llm_d_epp_average_kv_cache_utilization",
    "inference_pool_average_queue_size": "llm_d_epp_average_queue_size",
    "inference_pool_average_running_requests": "llm_d_epp_average_running_requests",
    "inference_pool_ready_pods": "llm_d_epp_ready_endpoints",
    "inference_pool_per_pod_queue_size": "llm_d_epp_per_endpoint_queue_size",
    "inference_extension_scheduler_e2e_duration_seconds": "llm_d_epp_scheduler_e2e_duration_seconds",
    "inference_extension_scheduler_attempts_total": "llm_d_epp_scheduler_attempts_total",
    "inference_extension_plugin_duration_seconds": "llm_d_epp_plugin_duration_seconds",
    "inference_extension_prefix_indexer_size": "llm_d_epp_prefix_indexer_size",
    "inference_extension_prefix_indexer_hit_ratio": "llm_d_epp_prefix_indexer_hit_ratio",
    "inference_extension_prefix_indexer_hit_bytes": "llm_d_epp_prefix_indexer_hit_bytes",
    "inference_extension_flow_control_request_queue_duration_seconds": (
        "llm_d_epp_flow_control_request_queue_duration_seconds"
    ),
    **{
        f"inference_extension_flow_control_{name}": f"llm_d_epp_flow_control_{name}"
        for name in (
            "queue_size",
            "queue_bytes",
            "dispatch_cycle_duration_seconds",
            "request_enqueue_duration_seconds",
        )
    },
    "inference_extension_flow_control_pool_saturation": "llm_d_epp_flow_control_pool_saturation",
    "inference_extension_model_rewrite_decisions_total": "llm_d_epp_model_rewrite_decisions_total",
    "inference_extension_info": "llm_d_epp_info",
}


def _bounded(known: set[str], name: str) -> str:
    if name not in known:
        if len(known) >= NAMES:
            return "other"
        known.add(name)
    return name


class PickerMetrics:
    """All families; each is named as its Prometheus name without the subsystem."""

    def __init__(self, compat: Compat) -> None:
        self.registry = Registry(_LLMD_NAMES if compat.metric_prefixes else None)
        self._models: set[str] = set()
        self._flows: set[str] = set()
        self._objective_families()
        self._extension_families()

    def model_label(self, name: str) -> str:
        """A model's name as a label; clients choose it, so beyond NAMES different ones it is "other"."""
        return _bounded(self._models, name)

    def flow_label(self, fairness_id: str) -> str:
        """The same of a fairness id."""
        return _bounded(self._flows, fairness_id)

    def _objective_families(self) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return self.registry.add(Counter(f"inference_objective_{name}", text, labels))

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return self.registry.add(Histogram(f"inference_objective_{name}", text, _MODEL, buckets))

        self.request_total = counter("request_total", "Requests that were routed.", *_MODEL, "priority")
        self.request_error_total = counter(
            "request_error_total", "Requests that the picker refused.", *_MODEL, "error_code"
        )
        self.request_duration = histogram("request_duration_seconds", "Request to end of response.", _LATENCY)
        self.request_ttft = histogram("request_ttft_seconds", "Request to first response body.", _LATENCY)
        self.request_sizes = histogram("request_sizes", "Bytes of request bodies.", _SIZES)
        self.response_sizes = histogram("response_sizes", "Bytes of response bodies.", _RESPONSES)
        self.input_tokens = histogram("input_tokens", "Prompt tokens by the usage reported.", _TOKENS)
        self.output_tokens = histogram(
            "output_tokens", "Completion tokens by the usage reported.", _TOKENS[:12]
        )
        self.prompt_cached_tokens = histogram(
            "prompt_cached_tokens", "Prompt tokens that the model server had cached.", _TOKENS
        )
        self.ntpot = histogram(
            "normalized_time_per_output_token_seconds", "Duration divided by completion tokens.", _NTPOT
        )
        self.running_requests = self.registry.add(
            Gauge("inference_objective_running_requests", "Requests between pick and end.", ("model_name",))
        )

    def _extension_families(self) -> None:
        def histogram(name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
            return self.registry.add(Histogram(f"inference_extension_{name}", text, labels, buckets))

        self.scheduler_e2e = histogram("scheduler_e2e_duration_seconds", "One scheduling cycle.", (), _SHORT)
        self.plugin_duration = histogram(
            "plugin_duration_seconds",
            "One run of a plugin.",
            ("extension_point", "plugin_type", "plugin_name"),
            _SHORT,
        )
        self.scheduler_attempts = self.registry.add(
            Counter(
                "inference_extension_scheduler_attempts_total",
                "Scheduling attempts by outcome.",
                ("status", "target_model_name", "pod_name", "namespace", "port"),
            )
        )
        self.prefix_hit_ratio = histogram(
            "prefix_indexer_hit_ratio", "Matched share of prompts.", (), _RATIOS
        )
        self.prefix_hit_bytes = histogram("prefix_indexer_hit_bytes", "Matched bytes.", (), _HIT_BYTES)
        self.queue_duration = histogram(
            "flow_control_request_queue_duration_seconds",
            "Time in the flow control queue.",
            ("fairness_id", "priority", "outcome", "inference_pool", *_MODEL),
            _QUEUE,
        )
        self.dispatch_cycle = histogram(
            "flow_control_dispatch_cycle_duration_seconds", "One cycle of flow control.", (), _SHORT
        )
        self.enqueue_duration = histogram(
            "flow_control_request_enqueue_duration_seconds",
            "Time into the flow control queue.",
            ("fairness_id", "priority", "outcome"),
            _SHORT,
        )
        self.rewrites = self.registry.add(
            Counter(
                "inference_extension_model_rewrite_decisions_total",
                "Model rewrites.",
                ("model_rewrite_name", "model_name", "target_model"),
            )
        )
        names = {"pd-profile-handler": "pd_decision_total", "disagg-profile-handler": "disagg_decision_total"}
        labels = ("plugin_name", "plugin_type", "model_name", "decision_type")
        self.disaggregations = {
            handler: self.registry.add(Counter(f"llm_d_epp_{name}", "Decisions of disaggregation.", labels))
            for handler, name in names.items()
        }
        self.info = self.registry.add(
            Gauge(
                "inference_extension_info", "The picker and the release it follows.", ("commit", "build_ref")
            )
        )

    def watch_pool(self, datastore: Datastore, inflight: InflightLoad, staleness: float) -> None:
        """Add the gauges that are read from the pool when the page is rendered.

        Means are over endpoints scraped within `staleness` seconds.
        """
        pool = datastore.pool

        def mean(field: str) -> list[tuple[tuple[str, ...], float]]:
            now = time.monotonic()
            fresh = [e.metrics for e in datastore.endpoints if e.metrics.age(now) <= staleness]
            values = [float(getattr(metrics, field)) for metrics in fresh]
            return [((pool,), sum(values) / len(values))] if values else []

        def gauge(name: str, text: str, field: str) -> None:
            self.registry.add(Gauge(f"inference_pool_{name}", text, ("name",), lambda: mean(field)))

        gauge("average_kv_cache_utilization", "Mean KV cache utilization of the pool.", "kv_usage")
        gauge("average_queue_size", "Mean waiting queue of the pool.", "waiting")
        gauge("average_running_requests", "Mean running requests of the pool.", "running")
        self.registry.add(
            Gauge(
                "inference_pool_ready_pods",
                "Endpoints of the pool.",
                ("name",),
                lambda: [((pool,), float(len(datastore.endpoints)))] if datastore.synced else [],
            )
        )
        self.registry.add(
            Gauge(
                "inference_pool_per_pod_queue_size",
                "Waiting queue of each endpoint.",
                ("name", "model_server_pod"),
                lambda: [((pool, e.name), float(e.metrics.waiting)) for e in datastore.endpoints],
            )
        )
        self.registry.add(
            Gauge(
                "picker_endpoint_inflight_requests",
                "Requests that the picker has sent to an endpoint and that have not ended.",
                ("name", "endpoint"),
                lambda: [((pool, e.host_port), float(inflight.requests(e.id))) for e in datastore.endpoints],
            )
        )

    def watch_flow_control(self, pool: str, controller: FlowController) -> None:
        """Add the gauges of the queue, which stay at zero for flows that have left it.

        Models and flows are those that clients name, bounded as elsewhere.
        """
        labels = ("fairness_id", "priority", "inference_pool", *_MODEL)

        def held(which: int) -> list[tuple[tuple[str, ...], float]]:
            ended = self.queue_duration.labels_seen()
            found: dict[tuple[str, ...], float] = {(*key[:2], *key[3:]): 0.0 for key in ended}
            for (flow, priority, model, target), amounts in controller.held().items():
                models = self.model_label(model), self.model_label(target)
                key = (self.flow_label(flow), priority, pool, *models)
                found[key] = found.get(key, 0.0) + amounts[which]
            return list(found.items())

        def gauge(name: str, text: str, which: int) -> None:
            name = f"inference_extension_flow_control_{name}"
            self.registry.add(Gauge(name, text, labels, lambda: held(which)))

        gauge("queue_size", "Requests that wait in flow control.", 0)
        gauge("queue_bytes", "Bytes of the requests that wait in flow control.", 1)
        self.registry.add(
            Gauge(
                "inference_extension_flow_control_pool_saturation",
                "How full the pool is; 1 is where requests wait.",
                ("inference_pool",),
                lambda: [((pool,), controller.saturation())],
            )
        )
