"""EndpointPickerConfig: both API groups, every release's shape, decoded as strictly as the EPP decodes it.

Unknown fields, duplicate keys and wrong types are errors. What a field means is loader.py's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from gateway.picker.compat import TABLE, Compat, for_document
from gateway.picker.errors import PickerConfigError
from gateway.picker.releases import document_of, unknown_fields
from kit.durations import parse_duration
from kit.errors import DocumentError
from kit.yamldoc import TWICE, load_value

KIND = "EndpointPickerConfig"
T = TypeVar("T")


class _Strict(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Base of every part: camelCase on the wire, unknown fields refused."""


class PluginSpec(_Strict):
    type: str = ""
    name: str = ""
    parameters: dict[str, Any] | None = None


class SchedulingPlugin(_Strict):
    plugin_ref: str = ""
    weight: float | None = None


class SchedulingProfile(_Strict):
    name: str = ""
    plugins: list[SchedulingPlugin] = []


class Thresholds(_Strict):
    """saturationDetector up to GIE v1.4; zero means the default."""

    queue_depth_threshold: int = 0
    kv_cache_util_threshold: float = msgspec.field(default=0.0, name="kvCacheUtilThreshold")
    metrics_staleness_threshold: str = ""


class PluginRef(_Strict):
    plugin_ref: str = ""


class DataSource(_Strict):
    plugin_ref: str = ""
    extractors: list[PluginRef] = []


class DataLayer(_Strict):
    inject_defaults: bool | None = None
    sources: list[DataSource] = []
    discovery: PluginRef | None = None
    peer_discovery: PluginRef | None = None
    cross_replica_syncer_plugin_ref: str = ""
    cross_replica_sync_interval: str = ""


class PriorityBand(_Strict):
    priority: int = 0
    max_bytes: int | str | None = None
    max_requests: int | str | None = None
    fairness_policy_ref: str = ""
    ordering_policy_ref: str = ""


class FlowControl(_Strict):
    max_bytes: int | str | None = None
    max_requests: int | str | None = None
    default_request_ttl: str | None = msgspec.field(default=None, name="defaultRequestTTL")
    no_endpoint_request_ttl: str | None = msgspec.field(default=None, name="noEndpointRequestTTL")
    default_priority_band: PriorityBand | None = None
    default_negative_priority_band: PriorityBand | None = None
    priority_bands: list[PriorityBand] = []
    usage_limit_policy_plugin_ref: str = ""
    saturation_detector: PluginRef | None = None
    enable_eviction: bool = False


class RequestHandler(_Strict):
    parsers: list[PluginRef] = []


class EndpointPickerConfig(_Strict):
    """The whole; `saturation_detector` is Thresholds or PluginRef, as the release has it."""

    api_version: str = ""
    kind: str = ""
    plugins: list[PluginSpec] = []
    scheduling_profiles: list[SchedulingProfile] = []
    feature_gates: list[str] = []
    saturation_detector: dict[str, Any] | None = None
    data: DataLayer | None = None
    data_layer: DataLayer | None = None
    flow_control: FlowControl | None = None
    parser: PluginRef | None = None
    request_handler: RequestHandler | None = None


def read_yaml(text: str) -> Any:
    """One YAML (or JSON) document; PickerConfigError names the line of what is wrong."""
    try:
        return load_value(text, "", DocumentError)
    except DocumentError as error:
        line = f"line {error.line}: " if error.line else ""
        path, is_twice, _ = error.message.partition(f": {TWICE}")
        if is_twice:  # in the words of Go's strict YAML
            key = path.rpartition(".")[2]
            raise PickerConfigError(f'{line}key "{key}" already set in map') from None
        raise PickerConfigError(f"{line}{error.message}") from None


def parse_config(text: str, compat: Compat | None = None) -> EndpointPickerConfig:
    """The configuration in `text`, checked as the release `compat` checks it (default: by what stands in it).

    Raises PickerConfigError in the EPP's words, with the path of the field.
    """
    document = read_yaml(text)
    if not isinstance(document, dict):
        raise _invalid(f"a mapping with apiVersion, kind and plugins is expected, not {document!r}")
    compat = compat or for_document(document)
    _check_type(document, compat)
    _check_fields(document, compat)
    try:
        return msgspec.convert(document, EndpointPickerConfig)
    except msgspec.ValidationError as error:
        raise _invalid(_as_epp(str(error))) from None


# Parameters of the EPP's plugins that choose among producers, or expire them: here there is one of each.
_INERT_PARAMETERS = {
    "active-request-scorer": ("inFlightLoadProducerName", "requestTimeout"),
    "token-load-scorer": ("inFlightLoadProducerName",),
    "concurrency-detector": ("inFlightLoadProducerName",),
    "inflight-load-producer": ("prefixMatchInfoProducerName",),
    "utilization-filter": ("inFlightLoadProducerName",),
    "pd-profile-handler": ("prefixMatchInfoProducerName", "prefixPluginName", "prefixPluginType"),
    "prefix-cache-scorer": ("prefixMatchInfoProducerName",),
    "no-hit-lru-scorer": ("prefixMatchInfoProducerName", "prefixPluginName", "prefixPluginType"),
}


def without_effect(config: EndpointPickerConfig) -> Iterator[str]:
    """Paths of the settings that the EPP reads and the reference picker does not act on."""
    for i, plugin in enumerate(config.plugins):
        for name in _INERT_PARAMETERS.get(plugin.type, ()):
            if name in (plugin.parameters or {}):
                yield f"plugins[{i}].parameters.{name}"
    for where, layer in (("dataLayer", config.data_layer), ("data", config.data)):
        inert = {
            "injectDefaults": layer and layer.inject_defaults,
            "peerDiscovery": layer and layer.peer_discovery,
            "crossReplicaSyncerPluginRef": layer and layer.cross_replica_syncer_plugin_ref,
            "crossReplicaSyncInterval": layer and layer.cross_replica_sync_interval,
        }
        yield from (f"{where}.{name}" for name, value in inert.items() if value not in (None, ""))
    if config.flow_control and config.flow_control.enable_eviction:
        yield "flowControl.enableEviction"


def parse_thresholds(value: dict[str, Any] | None) -> Thresholds:
    """saturationDetector as three thresholds; zeros where nothing is said."""
    return _convert(value or {}, Thresholds, "saturationDetector")


def parse_detector_ref(value: dict[str, Any] | None) -> PluginRef:
    """saturationDetector as a reference to a plugin."""
    return _convert(value or {}, PluginRef, "saturationDetector")


def duration_of(value: str, where: str) -> float:
    """Seconds; PickerConfigError names the field."""
    try:
        return parse_duration(value)
    except ValueError as error:
        raise _invalid(f"{where}: {error}") from None


def quantity_of(value: int | str | None, where: str) -> int | None:
    """A Kubernetes quantity ("1Gi", "500M", 100) as an integer; PickerConfigError for anything else."""
    if value is None or isinstance(value, int):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGTPE]i?|Ki|)", value.strip())
    if not match:
        raise _invalid(f'{where}: {value!r} is not a quantity; write it like 100, "1k" or "1Gi"')
    power = "_KMGTPE".index(match[2][:1].upper() or "_")
    return int(float(match[1]) * (1024 if match[2].endswith("i") else 1000) ** power)


def _convert(value: dict[str, Any], kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _invalid(_as_epp(str(error), where)) from None


def _check_type(document: dict[str, Any], compat: Compat) -> None:
    for name in ("apiVersion", "kind"):
        if not document.get(name):
            raise _invalid(f'"{name}" is missing; write apiVersion: {compat.api_versions[0]}, kind: {KIND}')
    if document["kind"] != KIND or document["apiVersion"] not in compat.api_versions:
        raise _invalid(
            f'no kind "{document["kind"]}" is registered for version "{document["apiVersion"]}" '
            f"in {compat.name}; it reads kind {KIND} of {' or '.join(compat.api_versions)}"
        )


def _check_fields(document: dict[str, Any], compat: Compat) -> None:
    for path in unknown_fields(document, document_of(compat.name)):
        others = [row for row in TABLE if path not in unknown_fields(document, document_of(row))]
        hint = f" ({', '.join(others)} would read it)" if others else ""
        raise _invalid(f'strict decoding error: unknown field "{path}" in {compat.name}{hint}')
    if not compat.float_weights:
        _check_weights(document, compat)
    for name in ("plugins", "schedulingProfiles", "featureGates"):
        if name in document and document[name] is None:
            del document[name]


def _check_weights(document: dict[str, Any], compat: Compat) -> None:
    for i, profile in enumerate(document.get("schedulingProfiles") or []):
        for j, plugin in enumerate((profile or {}).get("plugins") or []):
            if isinstance((plugin or {}).get("weight"), float):
                raise _invalid(
                    f"schedulingProfiles[{i}].plugins[{j}].weight: {plugin['weight']} is not an integer; "
                    f"{compat.name} has no fractional weights (GIE v1.4 and later have)"
                )


def _as_epp(message: str, where: str = "") -> str:
    """msgspec's error in the words and with the paths of Kubernetes' strict decoder."""
    message, _, place = message.partition(" - at `$")
    path = place.rstrip("`").removeprefix(".")
    path = f"{where}.{path}".strip(".") if where else path
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        return f'strict decoding error: unknown field "{".".join(filter(None, (path, unknown[1])))}"'
    return f"{path}: {message}" if path else message


def _invalid(message: str) -> PickerConfigError:
    return PickerConfigError(f"the configuration is invalid - {message}")
