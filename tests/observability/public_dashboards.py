"""What the public dashboards read: metric families and the labels they group or select by.

GIE: tools/dashboards/inference_gateway.json of 2026-06-30 (55 queries) and tools/alerts/alert.yaml.
vLLM: examples/observability/prometheus_grafana/grafana.json and dashboards/grafana/*.json of 2026-08.
"""

from __future__ import annotations

_MODEL = ("model_name", "target_model_name")
_FLOW = ("priority", "fairness_id")

GIE: dict[str, tuple[str, ...]] = {
    "inference_pool_average_kv_cache_utilization": ("name",),
    "inference_pool_average_queue_size": ("name",),
    "inference_pool_per_pod_queue_size": ("name", "model_server_pod"),
    "inference_objective_request_total": _MODEL,
    "inference_objective_request_error_total": (*_MODEL, "error_code"),
    "inference_objective_request_duration_seconds_bucket": _MODEL,
    "inference_objective_request_sizes_bucket": (),
    "inference_objective_response_sizes_bucket": (),
    "inference_objective_input_tokens_bucket": (),
    "inference_objective_output_tokens_bucket": (),
    "vllm:prompt_tokens_total": ("model_name",),
    "vllm:generation_tokens_total": ("model_name",),
    "vllm:e2e_request_latency_seconds_bucket": (),
    "vllm:inter_token_latency_seconds_bucket": (),
    "vllm:time_to_first_token_seconds_bucket": (),
    "inference_extension_flow_control_pool_saturation": ("inference_pool",),
    "inference_extension_flow_control_queue_size": _FLOW,
    "inference_extension_flow_control_queue_bytes": _FLOW,
    "inference_extension_flow_control_request_enqueue_duration_seconds_count": _FLOW,
    "inference_extension_flow_control_request_enqueue_duration_seconds_bucket": (),
    "inference_extension_flow_control_request_queue_duration_seconds_count": (*_FLOW, "outcome"),
    "inference_extension_flow_control_request_queue_duration_seconds_bucket": _FLOW,
    "inference_extension_flow_control_dispatch_cycle_duration_seconds_bucket": (),
}

VLLM: dict[str, tuple[str, ...]] = {
    "vllm:e2e_request_latency_seconds_bucket": ("model_name",),
    "vllm:e2e_request_latency_seconds_sum": ("model_name",),
    "vllm:e2e_request_latency_seconds_count": ("model_name",),
    "vllm:prompt_tokens_total": ("model_name",),
    "vllm:generation_tokens_total": ("model_name",),
    "vllm:inter_token_latency_seconds_bucket": ("model_name",),
    "vllm:inter_token_latency_seconds_sum": ("model_name",),
    "vllm:time_to_first_token_seconds_bucket": ("model_name",),
    "vllm:time_to_first_token_seconds_sum": ("model_name",),
    "vllm:num_requests_running": ("model_name",),
    "vllm:num_requests_waiting": ("model_name",),
    "vllm:kv_cache_usage_perc": ("model_name",),
    "vllm:request_prompt_tokens_bucket": ("model_name",),
    "vllm:request_generation_tokens_bucket": ("model_name",),
    "vllm:request_success_total": ("model_name", "finished_reason"),
    "vllm:request_queue_time_seconds_sum": ("model_name",),
    "vllm:request_prefill_time_seconds_sum": ("model_name",),
    "vllm:request_decode_time_seconds_sum": ("model_name",),
    "vllm:request_max_num_generation_tokens_sum": ("model_name",),
}

# Of GIE's body-based router, a program beside the picker that no manifest of the lab starts.
NOT_OURS = (
    "bbr_success_total",
    "bbr_model_not_in_body_total",
    "bbr_model_not_parsed_total",
    "bbr_plugin_duration_seconds_bucket",
)
