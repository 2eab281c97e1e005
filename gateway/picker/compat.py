"""Everything that differs between EPP releases, as one table; code asks the table, never a version string.

Read from the sources of GIE v1.2.0, v1.3.1, v1.4.0 and v1.5.0 and of llm-d-router (August 2026).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gateway.picker.errors import PickerConfigError

GIE_API_VERSION = "inference.networking.x-k8s.io/v1alpha1"
LLMD_API_VERSION = "llm-d.ai/v1alpha1"


@dataclass(frozen=True, slots=True)
class Compat:
    """The behaviours of one EPP release."""

    name: str
    api_versions: tuple[str, ...]
    # Configuration.
    default_config: bool  # runs without any EndpointPickerConfig
    float_weights: bool  # weights of scorers may be fractions
    plugin_detector: bool  # saturationDetector is {pluginRef}, not three thresholds
    feature_gates: tuple[str, ...]
    # Metrics of the model servers.
    kv_metric: str
    running_metric: str  # "" where the release does not scrape it
    metric_flags: bool  # --*-metric flags may be set (later releases refuse them)
    scrape_timeout: float  # seconds
    counters_count: bool  # a counter's value is read like a gauge's
    lora_empty_series: bool  # a series with no running and no waiting adapter may be the newest
    keeps_unreadable: bool  # max_lora and num_gpu_blocks that are no numbers leave the last ones
    stores_empty: bool  # a scrape that has none of the wanted metrics still counts as fresh
    trim_adapters: bool  # adapter names are trimmed around the commas
    # Requests.
    parser: Literal["body", "path"]  # how the API of a request is told
    prompt_lists: bool  # a completions prompt may be a list
    model_first: bool  # a body without model is refused before anything else is looked at
    unknown_paths: bool  # bodies of paths that are no known API are forwarded unread
    bad_json_message: str
    quotes_bad_body: bool  # with -v 4 and more, the 400 for bad JSON quotes the body
    extract_prefix: str  # what an error about the body starts with
    nested_errors: bool  # errors about the body are spelled with their code inside the message
    remarshal_request: bool  # the body is decoded and encoded again: keys sorted, numbers as Go writes them
    remarshal_response: bool
    rewrites: bool  # InferenceModelRewrite objects are applied
    system_headers: bool  # content-length and the picker's own headers of a client are not sent on
    header_prefixes: tuple[str, ...]
    # Scheduling.
    prefix_hash: Literal["chars", "chars-tokens", "pseudo-tokens"]
    prefix_index_strays: bool  # blocks evicted while their own prompt is added stay findable
    in_flight_plugin: bool  # loads in flight are known only where an inflight-load-producer is configured
    mean_saturation: bool  # saturation is the mean over endpoints, not "no endpoint has room"
    sheds_before_queue: bool  # with flow control, sheddable requests are refused before they queue
    request_ttl: float  # seconds in the flow control queue; 0: no limit
    # Answers.
    error_format: str  # of {code} and {message}
    exhausted_code: str
    no_candidates_message: str
    unschedulable_prefix: str
    dropped_reason: bool
    answers_trailers: bool
    usage_anywhere: bool  # usage of a stream is read from any chunk, not only from the one with [DONE]
    cached_tokens_keys: tuple[str, ...]
    metric_prefixes: bool  # the picker's own metrics under llm_d_epp_ too


_GIE_HEADERS = ("x-gateway-inference-",)
_LLMD_HEADERS = ("x-llm-d-inference-", "x-gateway-inference-")

GIE_V12 = Compat(
    name="gie-v1.2",
    api_versions=(GIE_API_VERSION,),
    default_config=False,
    float_weights=False,
    plugin_detector=False,
    feature_gates=("dataLayer", "flowControl"),
    kv_metric="vllm:gpu_cache_usage_perc",
    running_metric="",
    metric_flags=True,
    scrape_timeout=5.0,
    counters_count=False,
    lora_empty_series=False,
    keeps_unreadable=False,
    stores_empty=True,
    trim_adapters=False,
    parser="body",
    prompt_lists=False,
    model_first=True,
    unknown_paths=False,
    bad_json_message="Error unmarshaling request body",
    quotes_bad_body=True,
    extract_prefix="failed to extract request data: ",
    nested_errors=True,
    remarshal_request=True,
    remarshal_response=True,
    rewrites=False,
    system_headers=False,
    header_prefixes=_GIE_HEADERS,
    prefix_hash="chars",
    prefix_index_strays=True,
    in_flight_plugin=False,
    mean_saturation=False,
    sheds_before_queue=True,
    request_ttl=0.0,
    error_format="inference gateway: {code} - {message}",
    exhausted_code="InferencePoolResourceExhausted",
    no_candidates_message="failed to find candidate pods for serving the request",
    unschedulable_prefix="failed to find target pod: ",
    dropped_reason=False,
    answers_trailers=False,
    usage_anywhere=False,
    cached_tokens_keys=("prompt_token_details",),
    metric_prefixes=False,
)

GIE_V13 = replace(
    GIE_V12,
    name="gie-v1.3",
    feature_gates=("dataLayer", "flowControl", "prepareDataPlugins"),
    kv_metric="vllm:kv_cache_usage_perc",
    running_metric="vllm:num_requests_running",
    quotes_bad_body=False,
    rewrites=True,
)

GIE_V14 = replace(
    GIE_V13,
    name="gie-v1.4",
    default_config=True,
    float_weights=True,
    parser="path",
    remarshal_response=False,
    mean_saturation=True,
    prefix_hash="chars-tokens",
)

GIE_V15 = replace(
    GIE_V14,
    name="gie-v1.5",
    plugin_detector=True,
    feature_gates=("dataLayer", "enableLegacyMetrics", "flowControl"),
    metric_flags=False,
    scrape_timeout=1.0,
    counters_count=True,
    lora_empty_series=True,
    keeps_unreadable=True,
    stores_empty=False,
    trim_adapters=True,
    prompt_lists=True,
    model_first=False,
    in_flight_plugin=True,
    bad_json_message="error unmarshaling request bodyMap",
    extract_prefix="",
    nested_errors=False,
    system_headers=True,
    sheds_before_queue=False,
    error_format="inference error: {code} - {message}",
    exhausted_code="ResourceExhausted",
    no_candidates_message="failed to find endpoint candidates for serving the request",
    unschedulable_prefix="failed to find target endpoint: ",
    answers_trailers=True,
    usage_anywhere=True,
)

LLMD_V010 = replace(
    GIE_V15,
    name="llm-d-v0.10",
    api_versions=(LLMD_API_VERSION, GIE_API_VERSION),
    feature_gates=("flowControl", "haPopulateNonLeaderDatastore"),
    unknown_paths=True,
    remarshal_request=False,
    header_prefixes=_LLMD_HEADERS,
    prefix_hash="pseudo-tokens",
    prefix_index_strays=False,
    in_flight_plugin=False,
    request_ttl=60.0,
    dropped_reason=True,
    cached_tokens_keys=("prompt_tokens_details", "prompt_token_details"),
    metric_prefixes=True,
)

TABLE: dict[str, Compat] = {c.name: c for c in (GIE_V12, GIE_V13, GIE_V14, GIE_V15, LLMD_V010)}


def by_name(name: str) -> Compat:
    """The row `name` of the table; PickerConfigError lists the rows there are."""
    try:
        return TABLE[name]
    except KeyError:
        raise PickerConfigError(f"--compat {name!r} is not known; choose one of {', '.join(TABLE)}") from None


def for_api_version(api_version: str | None) -> Compat:
    """The release that a configuration was written for, where nobody said: its API group tells."""
    return GIE_V12 if api_version == GIE_API_VERSION else LLMD_V010
