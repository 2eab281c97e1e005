"""Everything that differs between EPP releases, as one table; code asks the table, never a version string.

Read from the sources of GIE v1.0.0, v1.1.0, v1.2.0, v1.3.1, v1.4.0 and v1.5.0, of llm-d-inference-scheduler
v0.4.0, v0.5.1 and v0.7.1, which are GIE's v1.2, v1.3 and v1.4 with plugins of their own, and of llm-d-router
v0.9.0, v0.10.0 and its head of August 2026. What a release's configuration may hold is in releases.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from gateway.picker.errors import PickerConfigError
from gateway.picker.releases import document_of, plugin_types, unknown_fields

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
    gates_on: tuple[str, ...]  # of these, the ones that are on where nothing is said
    strict_parameters: bool  # unknown parameters of plugins are refused, not passed over
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
    prompt_lists: Literal["no", "strings", "ids"]  # what a completions prompt may be a list of; ids: of both
    model_first: bool  # a body without model is refused before anything else is looked at
    # Bodies of paths that are no known API are read as completions, refused with 400, or forwarded unread.
    unknown_paths: Literal["completions", "refused", "forwarded"]
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
    prefix_tunes: bool  # sizes of prefix blocks and indexes follow what the model servers tell
    prefix_index_strays: bool  # blocks evicted while their own prompt is added stay findable
    pd_threshold: bool  # pd-profile-handler has a threshold of its own instead of a decider
    in_flight_plugin: bool  # loads in flight are known only where an inflight-load-producer is configured
    mean_saturation: bool  # saturation is the mean over endpoints, not "no endpoint has room"
    sheds_before_queue: bool  # with flow control, sheddable requests are refused before they queue
    request_ttl: float  # seconds in the flow control queue; 0: no limit
    busy_after_ttl: bool  # whose time in the queue is over is told 429 while there are endpoints, not 503
    # Answers.
    error_format: str  # of {code} and {message}
    exhausted_code: str
    no_candidates_message: str
    unschedulable_prefix: str
    filtered_message: str  # of the 429 when filters leave nothing; "": the prefix and the profile's name
    dropped_reason: bool  # refusals carry x-llm-d-request-dropped-reason
    no_endpoints_reason: bool  # that of an empty pool too
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
    gates_on=(),
    strict_parameters=False,
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
    prompt_lists="no",
    model_first=True,
    unknown_paths="completions",
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
    prefix_tunes=True,
    prefix_index_strays=True,
    pd_threshold=True,
    in_flight_plugin=False,
    mean_saturation=False,
    sheds_before_queue=True,
    request_ttl=0.0,
    busy_after_ttl=False,
    error_format="inference gateway: {code} - {message}",
    exhausted_code="InferencePoolResourceExhausted",
    no_candidates_message="failed to find candidate pods for serving the request",
    unschedulable_prefix="failed to find target pod: ",
    filtered_message="",
    dropped_reason=False,
    no_endpoints_reason=False,
    answers_trailers=False,
    usage_anywhere=False,
    cached_tokens_keys=("prompt_token_details",),
    metric_prefixes=False,
)

GIE_V11 = replace(GIE_V12, name="gie-v1.1", feature_gates=())
GIE_V10 = replace(GIE_V11, name="gie-v1.0", prefix_tunes=False)

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
    prompt_lists="strings",
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

LLMD_V04 = replace(GIE_V12, name="llm-d-v0.4")
LLMD_V05 = replace(GIE_V13, name="llm-d-v0.5")
LLMD_V07 = replace(GIE_V14, name="llm-d-v0.7", pd_threshold=False)

LLMD_V09 = replace(
    GIE_V15,
    name="llm-d-v0.9",
    api_versions=(LLMD_API_VERSION, GIE_API_VERSION),
    feature_gates=("dataLayer", "flowControl"),
    strict_parameters=True,
    prompt_lists="ids",
    unknown_paths="refused",
    header_prefixes=_LLMD_HEADERS,
    prefix_hash="pseudo-tokens",
    prefix_index_strays=False,
    pd_threshold=False,
    in_flight_plugin=False,
    request_ttl=60.0,
    dropped_reason=True,
    cached_tokens_keys=("prompt_tokens_details", "prompt_token_details"),
    metric_prefixes=True,
)

LLMD_V010 = replace(
    LLMD_V09,
    name="llm-d-v0.10",
    feature_gates=("flowControl", "haPopulateNonLeaderDatastore"),
    gates_on=("haPopulateNonLeaderDatastore",),
    busy_after_ttl=True,
)

LLMD_HEAD = replace(
    LLMD_V010,
    name="llm-d-head",
    unknown_paths="forwarded",
    remarshal_request=False,
    filtered_message="no endpoints available for the given request",
    no_endpoints_reason=True,
)

_GIE = (GIE_V10, GIE_V11, GIE_V12, GIE_V13, GIE_V14, GIE_V15)
_SCHEDULERS = (LLMD_V04, LLMD_V05, LLMD_V07)
TABLE: dict[str, Compat] = {row.name: row for row in (*_GIE, *_SCHEDULERS, LLMD_V09, LLMD_V010, LLMD_HEAD)}


def by_name(name: str) -> Compat:
    """The row `name` of the table; PickerConfigError lists the rows there are."""
    try:
        return TABLE[name]
    except KeyError:
        raise PickerConfigError(f"--compat {name!r} is not known; choose one of {', '.join(TABLE)}") from None


def of_image(image: str) -> Compat | None:
    """The release behind the name of a picker's image; None where the name does not tell.

    A tag later than every row is the last row of its project.
    """
    plain = image.partition("@")[0]
    path, _, tag = plain.rpartition(":")
    if not path or "/" in tag:
        path, tag = plain, ""
    if "2aaf2a6" in tag:  # five commits before GIE v1.2.0, alike in all that the table holds
        return GIE_V12
    version = re.match(r"v?(\d+)\.(\d+)", tag)
    number = (int(version[1]), int(version[2])) if version else None
    name = path.rpartition("/")[2]
    if "llm-d-inference-scheduler" in name or "llm-d-router" in name:
        return _of_llm_d(number, tag)
    if name == "epp" and number:
        return TABLE.get(f"gie-v{number[0]}.{number[1]}", GIE_V15 if number > (1, 5) else None)
    return None


def _of_llm_d(number: tuple[int, int] | None, tag: str) -> Compat | None:
    if number is None:
        return LLMD_HEAD if tag in ("main", "latest", "dev") else None
    if number[0] or number[1] > 10:
        return LLMD_HEAD
    minor = {6: 7, 8: 9}.get(number[1], max(number[1], 4))  # what has no row has the next one's
    return TABLE[f"llm-d-v0.{minor}"]


def for_document(document: Any, image: str = "") -> Compat:
    """The release that a configuration is for, where nobody said: by its image, else by what stands in it.

    Of the releases that have all that it names, the one that is most run is taken; where no release has it
    all, the one that its apiVersion stands for, whose words then say what is wrong.
    """
    if (told := of_image(image)) is not None:
        return told
    asked = document if isinstance(document, dict) else {}
    first = for_api_version(asked.get("apiVersion"))
    old = (*_GIE[2:], *reversed(_SCHEDULERS), LLMD_V010, LLMD_HEAD)
    order = (first, LLMD_HEAD, LLMD_V09) if first is LLMD_V010 else old
    return next((row for row in order if not any(strange_in(asked, row))), first)


def for_api_version(api_version: str | None) -> Compat:
    """The release that an API group stands for."""
    return GIE_V12 if api_version == GIE_API_VERSION else LLMD_V010


def strange_in(document: Mapping[str, Any], compat: Compat) -> Iterator[str]:
    """What a release would not know of a configuration: fields, feature gates, types and their parameters."""
    yield from unknown_fields(document, document_of(compat.name))
    for gate in _list(document, "featureGates"):
        if str(gate).partition("=")[0] not in compat.feature_gates:
            yield f"feature gate {gate}"
    for plugin in _list(document, "plugins"):
        if not isinstance(plugin, dict) or (known := plugin_types().get(str(plugin.get("type")))) is None:
            continue
        variant = known.of(compat.name)
        if variant is None:
            yield f"plugin type {known.name}"
        elif variant.fields is not None:
            yield from unknown_fields(plugin.get("parameters"), variant.fields, any_case=True)


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    return value if isinstance(value, list) else []
