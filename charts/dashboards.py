"""The Grafana dashboards of the charts, made from the tables below: `python charts/dashboards.py [--check]`.

A panel is its title, its unit (Grafana's name of it) and its queries, each with its legend. A query that names
`istio_` metrics is one for clusters: Istio's own gateways export those, the lab's Envoy does not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RATE = "[$__rate_interval]"
SHARES = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))
DATASOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
HEIGHT, WIDTH, COLUMNS = 8, 8, 3

Query = tuple[str, str]
Panel = tuple[str, str, list[Query]]


def quantiles(family: str, selector: str = "", by: str = "") -> list[Query]:
    """p50, p90 and p99 of a histogram."""
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    rate = f"sum by ({labels}) (rate({family}_bucket{selector}{RATE}))"
    return [(f"histogram_quantile({share}, {rate})", name + legend) for share, name in SHARES]


def rate(family: str, by: str, selector: str = "", legend: str = "") -> Query:
    """Increase a second, summed by labels."""
    shown = legend or " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",") if label.strip())
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({family}{selector}{RATE}))", shown


def mean(family: str, by: str, legend: str) -> Query:
    """Mean of a histogram's observations."""
    total, count = (f"sum by ({by}) (rate({family}_{part}{RATE}))" for part in ("sum", "count"))
    return f"{total} / {count}", legend


PODS: list[Panel] = [
    ("Requests running", "short", [("sum by (pod) (vllm:num_requests_running)", "{{pod}}")]),
    ("Requests waiting", "short", [("sum by (pod) (vllm:num_requests_waiting)", "{{pod}}")]),
    ("KV cache in use", "percentunit", [("max by (pod) (vllm:kv_cache_usage_perc)", "{{pod}}")]),
    ("Time to first token", "s", quantiles("vllm:time_to_first_token_seconds")),
    ("Inter-token latency", "s", quantiles("vllm:inter_token_latency_seconds")),
    ("End-to-end latency", "s", quantiles("vllm:e2e_request_latency_seconds")),
    ("Time in queue", "s", quantiles("vllm:request_queue_time_seconds")),
    (
        "Prefill and decode, mean",
        "s",
        [
            mean("vllm:request_prefill_time_seconds", "pod", "prefill {{pod}}"),
            mean("vllm:request_decode_time_seconds", "pod", "decode {{pod}}"),
        ],
    ),
    (
        "Tokens",
        "short",
        [
            rate("vllm:prompt_tokens_total", "pod", legend="prompt {{pod}}"),
            rate("vllm:generation_tokens_total", "pod", legend="generated {{pod}}"),
        ],
    ),
    ("Requests finished, by reason", "reqps", [rate("vllm:request_success_total", "finished_reason")]),
    (
        "Prefix cache hits",
        "percentunit",
        [
            (
                f"sum by (pod) (rate(vllm:prefix_cache_hits_total{RATE}))"
                f" / sum by (pod) (rate(vllm:prefix_cache_queries_total{RATE}))",
                "{{pod}}",
            )
        ],
    ),
    ("Preemptions", "short", [rate("vllm:num_preemptions_total", "pod")]),
    ("Prompt length", "short", quantiles("vllm:request_prompt_tokens")),
    ("Answer length", "short", quantiles("vllm:request_generation_tokens")),
    ("Tokens in a step", "short", quantiles("vllm:iteration_tokens_total")),
]

PICKER: list[Panel] = [
    ("Requests", "reqps", [rate("inference_objective_request_total", "model_name, target_model_name")]),
    ("Refusals", "reqps", [rate("inference_objective_request_error_total", "error_code")]),
    ("Picks, by pod", "reqps", [rate("inference_extension_scheduler_attempts_total", "pod_name, status")]),
    ("Scheduling", "s", quantiles("inference_extension_scheduler_e2e_duration_seconds")),
    (
        "Plugins, mean",
        "s",
        [
            mean(
                "inference_extension_plugin_duration_seconds",
                "extension_point, plugin_name",
                "{{extension_point}} {{plugin_name}}",
            )
        ],
    ),
    ("Pods of the pool", "short", [("inference_pool_ready_pods", "{{name}}")]),
    (
        "KV cache, mean of the pool",
        "percentunit",
        [("inference_pool_average_kv_cache_utilization", "{{name}}")],
    ),
    (
        "Queue, as the picker sees it",
        "short",
        [("inference_pool_per_pod_queue_size", "{{model_server_pod}}")],
    ),
    ("Running, mean of the pool", "short", [("inference_pool_average_running_requests", "{{name}}")]),
    ("Request to first body", "s", quantiles("inference_objective_request_ttft_seconds")),
    ("Request to end", "s", quantiles("inference_objective_request_duration_seconds")),
    (
        "Time per output token, normalized",
        "s",
        quantiles("inference_objective_normalized_time_per_output_token_seconds"),
    ),
    ("Prompt tokens", "short", quantiles("inference_objective_input_tokens")),
    ("Output tokens", "short", quantiles("inference_objective_output_tokens")),
    (
        "Prefix index: share of prompts found",
        "percentunit",
        quantiles("inference_extension_prefix_indexer_hit_ratio"),
    ),
    (
        "Flow control: saturation",
        "percentunit",
        [("inference_extension_flow_control_pool_saturation", "{{inference_pool}}")],
    ),
    (
        "Flow control: waiting",
        "short",
        [
            (
                "sum by (priority, fairness_id) (inference_extension_flow_control_queue_size)",
                "{{priority}} {{fairness_id}}",
            )
        ],
    ),
    (
        "Flow control: time in queue",
        "s",
        quantiles("inference_extension_flow_control_request_queue_duration_seconds"),
    ),
    (
        "Flow control: outcomes",
        "reqps",
        [rate("inference_extension_flow_control_request_queue_duration_seconds_count", "outcome, priority")],
    ),
]

DOWNSTREAM = '{http_conn_manager_prefix=~"outbound_.+"}'
OUTBOUND = '{cluster_name=~"outbound.+"}'
GATEWAY: list[Panel] = [
    (
        "Answers, by class of their status",
        "reqps",
        [
            rate(
                "envoy_http_downstream_rq",
                "response_code_class",
                '{http_conn_manager_prefix=~"outbound_.+",response_code_class!=""}',
            ),
            rate("istio_requests_total", "response_code"),
        ],
    ),
    (
        "Latency at the gateway",
        "ms",
        [
            *quantiles("envoy_http_downstream_rq_time", DOWNSTREAM),
            *quantiles("istio_request_duration_milliseconds"),
        ],
    ),
    ("Requests under way", "short", [(f"sum (envoy_http_downstream_rq_active{DOWNSTREAM})", "downstream")]),
    ("Requests, by cluster", "reqps", [rate("envoy_cluster_upstream_rq_total", "cluster_name", OUTBOUND)]),
    (
        "Latency of clusters, p90",
        "ms",
        quantiles("envoy_cluster_upstream_rq_time", OUTBOUND, "cluster_name")[1:2],
    ),
    (
        "Endpoints in health",
        "short",
        [(f"min by (cluster_name) (envoy_cluster_membership_healthy{OUTBOUND})", "{{cluster_name}}")],
    ),
    (
        "ext_proc streams",
        "reqps",
        [
            rate("envoy_http_ext_proc_streams_started", "", legend="started"),
            rate("envoy_http_ext_proc_streams_failed", "", legend="failed"),
        ],
    ),
    (
        "Without an answer of the picker",
        "reqps",
        [
            rate("envoy_http_ext_proc_message_timeouts", "", legend="timed out"),
            rate("envoy_http_ext_proc_failure_mode_allowed", "", legend="went on without"),
            rate("envoy_http_ext_proc_immediate_responses_sent", "", legend="refused by the picker"),
        ],
    ),
    (
        "Trouble with clusters",
        "reqps",
        [
            rate(
                "envoy_cluster_upstream_cx_connect_fail",
                "cluster_name",
                OUTBOUND,
                "no connection {{cluster_name}}",
            ),
            rate("envoy_cluster_upstream_rq_retry", "cluster_name", OUTBOUND, "retries {{cluster_name}}"),
            rate(
                "envoy_cluster_upstream_rq_pending_overflow",
                "cluster_name",
                OUTBOUND,
                "overflow {{cluster_name}}",
            ),
        ],
    ),
]

LOADGEN: list[Panel] = [
    (
        "Requests",
        "reqps",
        [
            rate("loadgen_requests_sent_total", "scenario", legend="sent {{scenario}}"),
            ("loadgen_asked_rate", "asked {{scenario}}"),
        ],
    ),
    ("Ended, by outcome", "reqps", [rate("loadgen_requests_ended_total", "outcome")]),
    ("In flight", "short", [("sum by (scenario) (loadgen_requests_in_flight)", "{{scenario}}")]),
    ("Time to first token", "s", quantiles("loadgen_time_to_first_token_seconds")),
    ("Time per output token", "s", quantiles("loadgen_time_per_output_token_seconds")),
    ("End to end, from the intended start", "s", quantiles("loadgen_request_duration_seconds")),
    ("Start lateness", "s", quantiles("loadgen_start_lateness_seconds")),
    ("Answers, by pod", "reqps", [rate("loadgen_requests_served_total", "pod")]),
    ("Output tokens", "short", [rate("loadgen_output_tokens_total", "scenario")]),
    ("Never sent", "reqps", [rate("loadgen_requests_missed_total", "scenario")]),
    ("CPU of the workers", "percentunit", [rate("loadgen_client_cpu_seconds_total", "scenario")]),
]

DASHBOARDS: dict[str, tuple[str, list[Panel]]] = {
    "simulator/files/dashboards/vllm-pods.json": ("vLLM pods", PODS),
    "gateway/files/dashboards/picker.json": ("Endpoint picker", PICKER),
    "gateway/files/dashboards/gateway.json": ("Inference gateway", GATEWAY),
    "loadgen/files/dashboards/loadgen.json": ("Load generator", LOADGEN),
}


def panel(number: int, title: str, unit: str, queries: list[Query]) -> dict[str, Any]:
    """A time series in the grid."""
    return {
        "id": number + 1,
        "title": title,
        "type": "timeseries",
        "datasource": DATASOURCE,
        "gridPos": {
            "h": HEIGHT,
            "w": WIDTH,
            "x": number % COLUMNS * WIDTH,
            "y": number // COLUMNS * HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 8}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(65 + i), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
            for i, (expression, legend) in enumerate(queries)
        ],
    }


def dashboard(file: str, title: str, panels: list[Panel]) -> dict[str, Any]:
    """A dashboard as Grafana imports it."""
    variable = {"name": "DS_PROMETHEUS", "label": "data source", "type": "datasource", "query": "prometheus"}
    return {
        "uid": f"simfleet-{Path(file).stem}",
        "title": f"{title} (vllm-simfleet)",
        "tags": ["vllm-simfleet", "llm"],
        "schemaVersion": 39,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "templating": {"list": [variable]},
        "panels": [panel(number, *given) for number, given in enumerate(panels)],
    }


def main() -> int:
    """Write them, or with --check say which differ; the exit code."""
    stale = []
    for file, (title, panels) in DASHBOARDS.items():
        path, text = HERE / file, json.dumps(dashboard(file, title, panels), indent=1) + "\n"
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(file)
    for file in stale:
        print(f"charts/{file} is not what charts/dashboards.py makes; run it")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
