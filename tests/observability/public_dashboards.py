"""What the public dashboards read: metric families and the labels they group or select by.

GIE: tools/dashboards/inference_gateway.json of 2026-06-30 (55 queries) and tools/alerts/alert.yaml.
vLLM: examples/observability/prometheus_grafana/grafana.json and dashboards/grafana/*.json of 2026-08.
"""

from __future__ import annotations

_MODEL = ("model_name", "target_model_name")
_FLOW = ("priority", "fairness_id")
_POD = ("job", "instance", "model_name")
_ENGINE = (*_POD, "engine")

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

# What a pod exports without further features; of speculation, NIXL and offload the dashboards read those too.
VLLM: dict[str, tuple[str, ...]] = {
    "vllm:cache_config_info": ("engine", "instance", "job"),
    "vllm:e2e_request_latency_seconds_bucket": _ENGINE,
    "vllm:e2e_request_latency_seconds_count": _POD,
    "vllm:e2e_request_latency_seconds_sum": _POD,
    "vllm:engine_sleep_state": (*_ENGINE, "sleep_state"),
    "vllm:estimated_flops_per_gpu_total": _ENGINE,
    "vllm:estimated_read_bytes_per_gpu_total": _ENGINE,
    "vllm:estimated_write_bytes_per_gpu_total": _ENGINE,
    "vllm:external_prefix_cache_hits_total": _ENGINE,
    "vllm:external_prefix_cache_queries_total": _ENGINE,
    "vllm:generation_tokens_total": _ENGINE,
    "vllm:inter_token_latency_seconds_bucket": _ENGINE,
    "vllm:inter_token_latency_seconds_count": _ENGINE,
    "vllm:inter_token_latency_seconds_sum": _ENGINE,
    "vllm:iteration_tokens_total_bucket": _POD,
    "vllm:iteration_tokens_total_count": _ENGINE,
    "vllm:iteration_tokens_total_sum": _ENGINE,
    "vllm:kv_cache_usage_perc": _ENGINE,
    "vllm:mm_cache_hits_total": _ENGINE,
    "vllm:mm_cache_queries_total": _ENGINE,
    "vllm:num_preemptions_total": _ENGINE,
    "vllm:num_requests_running": _ENGINE,
    "vllm:num_requests_waiting": _ENGINE,
    "vllm:num_requests_waiting_by_reason": (*_ENGINE, "reason"),
    "vllm:prefix_cache_hits_total": _ENGINE,
    "vllm:prefix_cache_queries_total": _ENGINE,
    "vllm:prompt_tokens_by_source_total": (*_ENGINE, "source"),
    "vllm:prompt_tokens_cached_by_source_total": (*_ENGINE, "source"),
    "vllm:prompt_tokens_cached_total": _ENGINE,
    "vllm:prompt_tokens_total": _ENGINE,
    "vllm:request_decode_time_seconds_count": _POD,
    "vllm:request_decode_time_seconds_sum": _POD,
    "vllm:request_generation_tokens_bucket": _POD,
    "vllm:request_generation_tokens_count": _POD,
    "vllm:request_generation_tokens_sum": _POD,
    "vllm:request_max_num_generation_tokens_sum": ("model_name",),
    "vllm:request_prefill_kv_computed_tokens_count": _ENGINE,
    "vllm:request_prefill_kv_computed_tokens_sum": _ENGINE,
    "vllm:request_prefill_time_seconds_count": _POD,
    "vllm:request_prefill_time_seconds_sum": _POD,
    "vllm:request_prompt_tokens_bucket": _POD,
    "vllm:request_prompt_tokens_count": _ENGINE,
    "vllm:request_prompt_tokens_sum": _ENGINE,
    "vllm:request_queue_time_seconds_bucket": _POD,
    "vllm:request_queue_time_seconds_count": _ENGINE,
    "vllm:request_queue_time_seconds_sum": _ENGINE,
    "vllm:request_success_total": (*_ENGINE, "finished_reason"),
    "vllm:request_time_per_output_token_seconds_bucket": _POD,
    "vllm:request_time_per_output_token_seconds_count": _POD,
    "vllm:request_time_per_output_token_seconds_sum": _POD,
    "vllm:time_to_first_token_seconds_bucket": _ENGINE,
    "vllm:time_to_first_token_seconds_count": _POD,
    "vllm:time_to_first_token_seconds_sum": _POD,
}

# Of GIE's body-based router, a program beside the picker that no manifest of the lab starts.
NOT_OURS = (
    "bbr_success_total",
    "bbr_model_not_in_body_total",
    "bbr_model_not_parsed_total",
    "bbr_plugin_duration_seconds_bucket",
)
