"""flowControl and saturationDetector of a configuration as limits."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.picker.compat import Compat
from gateway.picker.config import (
    EndpointPickerConfig,
    FlowControl,
    PluginSpec,
    PriorityBand,
    duration_of,
    parse_thresholds,
    quantity_of,
)
from gateway.picker.errors import PickerConfigError
from gateway.picker.flowcontrol import (
    DEFAULT_BAND_BYTES,
    DEFAULT_BAND_REQUESTS,
    BandLimits,
    FlowControlLimits,
)
from gateway.picker.plugins.saturation import UtilizationLimits


def flow_control_limits(
    config: FlowControl | None, specs: Mapping[str, PluginSpec], compat: Compat
) -> FlowControlLimits:
    """What flowControl says, with the release's defaults; PickerConfigError for what cannot be read."""
    given = config or FlowControl()
    ttl = compat.request_ttl
    if given.default_request_ttl is not None:
        ttl = duration_of(given.default_request_ttl, "flowControl.defaultRequestTTL")
    empty_ttl = compat.request_ttl
    if given.no_endpoint_request_ttl is not None:
        empty_ttl = duration_of(given.no_endpoint_request_ttl, "flowControl.noEndpointRequestTTL")
    ceiling = 1.0
    if reference := given.usage_limit_policy_plugin_ref:
        ceiling = float((referenced(reference, specs).parameters or {}).get("threshold", 1.0))
    negative = given.default_negative_priority_band
    return FlowControlLimits(
        max_bytes=quantity_of(given.max_bytes, "flowControl.maxBytes") or 0,
        max_requests=quantity_of(given.max_requests, "flowControl.maxRequests") or 0,
        request_ttl=ttl,
        no_endpoint_ttl=empty_ttl,
        ceiling=ceiling,
        default_band=_band(given.default_priority_band, specs),
        negative_band=_band(negative, specs) if negative else None,
        bands={band.priority: _band(band, specs) for band in given.priority_bands},
    )


def utilization_limits(config: EndpointPickerConfig) -> UtilizationLimits:
    """The three thresholds with GIE's defaults for what is zero or out of range."""
    given = parse_thresholds(config.saturation_detector)
    staleness = 0.0
    if given.metrics_staleness_threshold:
        where = "saturationDetector.metricsStalenessThreshold"
        staleness = duration_of(given.metrics_staleness_threshold, where)
    kv = given.kv_cache_util_threshold
    return UtilizationLimits(
        queue_depth=given.queue_depth_threshold if given.queue_depth_threshold > 0 else 5,
        kv_cache=kv if 0.0 < kv < 1.0 else 0.8,
        staleness=staleness if staleness > 0 else 0.2,
    )


def _band(config: PriorityBand | None, specs: Mapping[str, PluginSpec]) -> BandLimits:
    if config is None:
        return BandLimits()
    where = f"flowControl.priorityBands[{config.priority}]"
    names = {}
    for kind, reference in (
        ("fairness", config.fairness_policy_ref),
        ("ordering", config.ordering_policy_ref),
    ):
        if reference:
            names[kind] = specs[reference].type if reference in specs else reference
    return BandLimits(
        max_bytes=quantity_of(config.max_bytes, f"{where}.maxBytes") or DEFAULT_BAND_BYTES,
        max_requests=quantity_of(config.max_requests, f"{where}.maxRequests") or DEFAULT_BAND_REQUESTS,
        **names,
    )


def referenced(name: str, specs: Mapping[str, PluginSpec]) -> PluginSpec:
    """The plugin of that name; PickerConfigError where there is none."""
    if name not in specs:
        raise PickerConfigError(f"{name} is a reference to an undefined Plugin")
    return specs[name]
