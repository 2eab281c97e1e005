"""An EndpointPickerConfig becomes plugins, a profile, a detector and the settings of the other parts.

Defaults and errors are the EPP's (config/loader of GIE and llm-d-router).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.picker.compat import Compat
from gateway.picker.config import (
    DataLayer,
    EndpointPickerConfig,
    PluginSpec,
    SchedulingPlugin,
    SchedulingProfile,
    parse_detector_ref,
)
from gateway.picker.errors import PickerConfigError
from gateway.picker.flowcontrol import (
    FlowControlLimits,
)
from gateway.picker.plugins.base import (
    Detector,
    Filter,
    Picker,
    Plugin,
    PluginContext,
    Producer,
    ProfileHandler,
    Registry,
    Scorer,
)
from gateway.picker.plugins.builtin import UtilizationDetector
from gateway.picker.plugins.known_types import parameters_of, release_hint
from gateway.picker.plugins.prefix_plugins import producer_parameters
from gateway.picker.plugins.queueing import flow_control_limits, referenced, utilization_limits
from gateway.picker.plugins.scheduler import Profile
from gateway.picker.plugins.text.assets import Estimate
from gateway.picker.pool.inflight import InflightLoad
from gateway.picker.request import PARSERS

DEFAULT_PROFILE = (("queue-scorer", 2.0), ("kv-cache-utilization-scorer", 2.0), ("prefix-cache-scorer", 3.0))
PRECISE = "precise-prefix-cache-producer"
PRODUCER = "approx-prefix-cache-producer"
SINGLE = "single-profile-handler"
LOADS = "inflight-load-producer"
_NEEDS_LOADS = {
    "active-request-scorer",
    "concurrency-detector",
    "utilization-filter",
    "prefix-cache-affinity-filter",
}
_NEEDS_PRODUCER = {
    "prefix-cache-scorer",
    "no-hit-lru-scorer",
    "disagg-profile-handler",
    "pd-profile-handler",
    "latency-scorer",
    "prefix-cache-affinity-filter",
}


@dataclass(slots=True)
class Loaded:
    """A configuration that can run."""

    plugins: dict[str, Plugin]  # by name, in the order of the configuration
    specs: dict[str, PluginSpec]
    profiles: dict[str, Profile]
    handler: ProfileHandler
    detector: Detector
    flow_control: FlowControlLimits | None
    parsers: tuple[str, ...] | None  # types of the configured ones; None: the release's own

    def renders(self, compat: Compat) -> bool:
        """Whether the release would make real tokens of texts: by a token-producer, up to v0.7 by itself."""
        given = [s.parameters or {} for s in self.specs.values() if s.type in ("token-producer", "tokenizer")]
        asked = any(p.get(name) for p in given for name in ("vllm", "modelName", "udsTokenizerConfig"))
        return asked or any("vllm" in p for p in given) or not compat.strict_parameters

    @property
    def profile(self) -> Profile:
        """The first profile, or the only one."""
        return next(iter(self.profiles.values()))

    def settings_of(self, plugin_type: str) -> dict[str, Any] | None:
        """The parameters of the first plugin of a type; None when there is no such plugin."""
        for spec in self.specs.values():
            if spec.type == plugin_type:
                return spec.parameters or {}
        return None


@dataclass(slots=True)
class Loader:
    """Builds plugins from a registry; `warn` hears what is accepted but wrong."""

    compat: Compat
    registry: Registry
    rng: random.Random
    inflight: InflightLoad
    warn: Callable[[str], None]
    experimental: bool = True  # plugins that llm-d-router calls Alpha may be used
    _sees_in_flight: bool = True
    _estimate: Estimate = field(default_factory=Estimate)

    def load(self, config: EndpointPickerConfig | None) -> Loaded:
        """PickerConfigError for everything that the EPP refuses to start with."""
        config = config or self._default_config()
        gates = self._feature_gates(config.feature_gates)
        self._check_in_flight({spec.type for spec in config.plugins})
        tokens = (s.parameters for s in config.plugins if s.type in ("token-producer", "tokenizer"))
        self._estimate = Estimate.of(next(tokens, None))
        specs: dict[str, PluginSpec] = {}
        plugins: dict[str, Plugin] = {}
        for spec in config.plugins:
            spec.name = spec.name or spec.type
            if not spec.type:
                raise PickerConfigError(f"plugin definition for '{spec.name}' is missing a type")
            if spec.name in plugins:
                raise PickerConfigError(f"plugin name '{spec.name}' used more than once")
            specs[spec.name] = spec
            plugins[spec.name] = self._build(spec)
        self._add_producer(specs, plugins)
        profiles, handler = self._profiles(config.scheduling_profiles, specs, plugins)
        detector = self._detector(config, specs, plugins)
        flow = (
            flow_control_limits(config.flow_control, specs, self.compat) if gates.get("flowControl") else None
        )
        self._check_data_layer(config.data_layer or config.data, specs)
        return Loaded(plugins, specs, profiles, handler, detector, flow, self._parsers(config, specs))

    def _default_config(self) -> EndpointPickerConfig:
        if not self.compat.default_config:
            raise PickerConfigError(
                f"{self.compat.name} needs a configuration: give --config-file or --config-text "
                "(the EPP of that release crashes without one; from GIE v1.4 on there is a default)"
            )
        return EndpointPickerConfig(
            plugins=[PluginSpec(type=name) for name, _ in DEFAULT_PROFILE],
            scheduling_profiles=[
                SchedulingProfile(
                    name="default",
                    plugins=[SchedulingPlugin(plugin_ref=name, weight=w) for name, w in DEFAULT_PROFILE],
                )
            ],
        )

    def _feature_gates(self, gates: list[str]) -> dict[str, bool]:
        state = {gate: gate in self.compat.gates_on for gate in self.compat.feature_gates}
        for gate in gates:
            name, _, value = gate.partition("=")
            if name not in state or value not in ("", "true", "false"):
                raise PickerConfigError(
                    f"feature gate '{gate}' is unknown or unregistered in {self.compat.name}; "
                    f"it has {', '.join(self.compat.feature_gates)}"
                )
            state[name] = value != "false"
        return state

    def _build(self, spec: PluginSpec) -> Plugin:
        factory = self.registry.get(spec.type)
        if factory is None:
            raise PickerConfigError(
                f"plugin type '{spec.type}' is not found in registry"
                + (release_hint(spec.type) or f"; there are {', '.join(sorted(self.registry))}")
            )
        spec.parameters = parameters_of(spec, self.compat, self.warn, experimental=self.experimental)
        context = PluginContext(
            type_name=spec.type,
            name=spec.name,
            parameters=spec.parameters,
            compat=self.compat,
            rng=self.rng,
            inflight=self.inflight,
            warn=self.warn,
            sees_in_flight=self._sees_in_flight,
            estimate=self._estimate,
        )
        return factory(context)

    def _check_in_flight(self, types: set[str]) -> None:
        """GIE v1.5 has a producer of loads in flight, and refuses it beside the scorer that reads them."""
        has_producer = LOADS in types
        if self.compat.in_flight_plugin and has_producer and "token-load-scorer" in types:
            raise PickerConfigError(
                "data type mismatch between produced and consumed data for key: InFlightLoadKey "
                f"({self.compat.name} refuses token-load-scorer beside inflight-load-producer)"
            )
        self._sees_in_flight = has_producer or not self.compat.in_flight_plugin
        if self.compat.prefix_hash == "pseudo-tokens" and "token-load-scorer" in types and not has_producer:
            raise PickerConfigError(
                "failed to create missing data producers - no default producer found for missing data key "
                "UncachedRequestTokensDataKey/inflight-load-producer, consumed by token-load-scorer: "
                "configure an inflight-load-producer"
            )

    def _add_producer(self, specs: dict[str, PluginSpec], plugins: dict[str, Plugin]) -> None:
        """Scorers that read prefix matches get a producer when none is configured."""
        types = {spec.type for spec in specs.values()}
        if self.compat.prefix_hash == "pseudo-tokens" and LOADS not in types and types & _NEEDS_LOADS:
            specs[LOADS] = PluginSpec(type=LOADS, name=LOADS)
            plugins[LOADS] = self._build(specs[LOADS])
        if PRODUCER in types or PRECISE in types or not types & _NEEDS_PRODUCER:
            return
        if self.compat.prefix_hash == "chars" and "prefix-cache-scorer" in types:
            return  # the scorer hashes by itself
        parameters = next((s.parameters for s in specs.values() if s.type == "prefix-cache-scorer"), None)
        spec = PluginSpec(type=PRODUCER, name=PRODUCER, parameters=producer_parameters(parameters))
        specs[PRODUCER] = spec
        plugins[PRODUCER] = self._build(spec)

    def _profiles(
        self, profiles: list[SchedulingProfile], specs: dict[str, PluginSpec], plugins: dict[str, Plugin]
    ) -> tuple[dict[str, Profile], ProfileHandler]:
        if not profiles:
            usable = [name for name, p in plugins.items() if isinstance(p, Filter | Scorer | Picker)]
            profiles = [
                SchedulingProfile(name="default", plugins=[SchedulingPlugin(plugin_ref=n) for n in usable])
            ]
        self._check_profiles(profiles, plugins)
        handler = self._handler(len(profiles), specs, plugins)
        if not any(isinstance(plugin, Picker) for plugin in plugins.values()):
            spec = PluginSpec(type="max-score-picker", name="max-score-picker")
            specs[spec.name] = spec
            plugins[spec.name] = self._build(spec)
        return {profile.name: self._assemble(profile, plugins) for profile in profiles}, handler

    def _handler(
        self, profiles: int, specs: dict[str, PluginSpec], plugins: dict[str, Plugin]
    ) -> ProfileHandler:
        handlers = [plugin for plugin in plugins.values() if isinstance(plugin, ProfileHandler)]
        if len(handlers) > 1:
            raise PickerConfigError(
                f"only one profile handler is allowed. Both {handlers[0].name} and {handlers[1].name} "
                "are profile handlers"
            )
        if profiles > 1 and not handlers:
            raise PickerConfigError("no profile handler was specified")
        if profiles > 1 and handlers[0].is_single:
            raise PickerConfigError(
                "single profile handler is intended to be used with a single profile, but multiple profiles "
                "were specified"
            )
        if not handlers:
            specs[SINGLE] = PluginSpec(type=SINGLE, name=SINGLE)
            plugins[SINGLE] = self._build(specs[SINGLE])
            return self._handler(profiles, specs, plugins)
        handlers[0].bind(plugins)
        return handlers[0]

    def _check_profiles(self, profiles: list[SchedulingProfile], plugins: Mapping[str, Plugin]) -> None:
        seen = set()
        for profile in profiles:
            if not profile.name:
                raise PickerConfigError("SchedulingProfile must have a name")
            if profile.name in seen:
                raise PickerConfigError(
                    f"the name '{profile.name}' has been specified for more than one SchedulingProfile"
                )
            seen.add(profile.name)
            for plugin in profile.plugins:
                if not plugin.plugin_ref:
                    raise PickerConfigError(
                        f"SchedulingProfile '{profile.name}' plugins must have a plugin reference"
                    )
                if plugin.plugin_ref not in plugins:
                    raise PickerConfigError(f"{plugin.plugin_ref} is a reference to an undefined Plugin")

    def _assemble(self, config: SchedulingProfile, plugins: Mapping[str, Plugin]) -> Profile:
        filters: list[Filter] = []
        scorers: list[tuple[Scorer, float]] = []
        picker: Picker | None = None
        for reference in config.plugins:
            plugin = plugins[reference.plugin_ref]
            if isinstance(plugin, Scorer):
                scorers.append((plugin, 1.0 if reference.weight is None else reference.weight))
            if isinstance(plugin, Filter):
                filters.append(plugin)
            if isinstance(plugin, Picker):
                if picker is not None:
                    raise PickerConfigError(
                        f"failed to set '{plugin.name}' as picker, already have a registered picker plugin "
                        f"'{picker.name}'"
                    )
                picker = plugin
        default = next(plugin for plugin in plugins.values() if isinstance(plugin, Picker))
        return Profile(config.name, filters, scorers, picker or default)

    def _detector(
        self, config: EndpointPickerConfig, specs: dict[str, PluginSpec], plugins: dict[str, Plugin]
    ) -> Detector:
        if not self.compat.plugin_detector:
            context = PluginContext("utilization-detector", "", None, self.compat, self.rng, self.inflight)
            return UtilizationDetector(context, utilization_limits(config))
        reference = parse_detector_ref(config.saturation_detector)
        if config.flow_control and config.flow_control.saturation_detector:
            reference = config.flow_control.saturation_detector
        name = reference.plugin_ref or "utilization-detector"
        if name not in plugins:
            if name != "utilization-detector":
                raise PickerConfigError(f"saturation detector references undefined plugin '{name}'")
            specs[name] = PluginSpec(type=name, name=name)
            plugins[name] = self._build(specs[name])
        detector = plugins[name]
        if not isinstance(detector, Detector):
            raise PickerConfigError(f"plugin '{name}' is not a saturation detector")
        return detector

    def _check_data_layer(self, layer: DataLayer | None, specs: Mapping[str, PluginSpec]) -> None:
        for source in layer.sources if layer else ():
            referenced(source.plugin_ref, specs)
            for extractor in source.extractors:
                referenced(extractor.plugin_ref, specs)
        if layer and layer.discovery:
            referenced(layer.discovery.plugin_ref, specs)

    def _parsers(
        self, config: EndpointPickerConfig, specs: Mapping[str, PluginSpec]
    ) -> tuple[str, ...] | None:
        given = config.request_handler.parsers if config.request_handler else []
        if not given and config.parser:
            given = [config.parser]
        types = tuple(specs[p.plugin_ref].type if p.plugin_ref in specs else p.plugin_ref for p in given)
        for name in types:
            if name not in PARSERS:
                raise PickerConfigError(f"parser references undefined plugin '{name}'")
        return types or None


def producers_of(plugins: Mapping[str, Plugin]) -> list[Producer]:
    """The producers among plugins in their order, those that read the others' data last."""
    found = [plugin for plugin in plugins.values() if isinstance(plugin, Producer)]
    return sorted(found, key=lambda plugin: plugin.late)
