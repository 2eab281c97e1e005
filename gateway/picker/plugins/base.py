"""What a plugin is, and how a type name becomes one.

A registry maps a type name to a factory; there is no default registry. `scorer()` makes a factory of a pure
function, which is all that most new ideas need; the classes are for plugins that remember something.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.picker.compat import Compat
from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins.scorers import NoParameters
from gateway.picker.plugins.text.assets import Estimate
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.pool.inflight import InflightLoad
from gateway.picker.releases import plugin_types
from gateway.picker.request import InferenceRequest

P = TypeVar("P")
S = TypeVar("S", bound=msgspec.Struct)
ScoreFunction = Callable[[InferenceRequest, Sequence[Candidate], P], Sequence[float]]


@dataclass(slots=True)
class PluginContext:
    """What a factory gets to build one plugin."""

    type_name: str
    name: str
    parameters: dict[str, Any] | None
    compat: Compat
    rng: random.Random
    inflight: InflightLoad
    warn: Callable[[str], None] = field(default=lambda _: None)
    sees_in_flight: bool = True
    estimate: Estimate = field(default_factory=Estimate)

    def hears_of_no_load(self) -> bool:
        """Whether this plugin is to take every endpoint for idle, because the release's own does; warns."""
        if not self.sees_in_flight:
            self.warn(
                f"plugin '{self.name}' (type {self.type_name}): without an inflight-load-producer "
                f"{self.compat.name} takes every endpoint for idle"
            )
        return not self.sees_in_flight

    def warn_inert(self, names: Iterable[str]) -> None:
        """Say of parameters that the release reads them and that they have no effect here."""
        for name in names:
            self.warn(
                f"plugin '{self.name}' (type {self.type_name}): {name} has no effect in the reference "
                "picker, only in the EPP"
            )

    def decode(self, kind: type[S], strict: bool | None = None) -> S:
        """The parameters as `kind`. Of those that it has not, the picker says that they have no effect.

        What the release itself refuses, known_types.py has refused before; a type of the user's own is as
        strict as the release. PickerConfigError for wrong values.
        """
        raw = dict(self.parameters or {})
        known = {field.encode_name for field in msgspec.structs.fields(kind)}
        unknown = sorted(set(raw) - known)
        if unknown and self.type_name not in plugin_types():
            message = f"plugin '{self.name}' (type {self.type_name}) has no parameter {', '.join(unknown)}"
            message += f"; it has {', '.join(sorted(known)) or 'none'}"
            if self.compat.strict_parameters if strict is None else strict:
                raise PickerConfigError(message)
            self.warn(message)
        elif unknown and (variant := plugin_types()[self.type_name].nearest(self.compat.name)).fields:
            self.warn_inert(name for name in unknown if name in variant.fields)
        try:
            return msgspec.convert({key: raw[key] for key in raw if key in known}, kind)
        except msgspec.ValidationError as error:
            raise PickerConfigError(
                f"failed to parse the parameters of plugin '{self.name}' (type {self.type_name}) - {error}"
            ) from None


class Plugin:
    """Base of all plugins: a type, a name, and the hooks of a request's life, none of which must be used."""

    def __init__(self, context: PluginContext) -> None:
        self.type_name = context.type_name
        self.name = context.name

    def pre_request(self, request: InferenceRequest, target: Candidate) -> None:
        """The pick is made; `target` is its first endpoint."""

    def response_headers(
        self,
        request: InferenceRequest | None,
        endpoint: str,
        headers: MutableMapping[str, str],
        metadata: Mapping[str, Any],
    ) -> None:
        """The model server's headers have come; what is set in `headers` goes to the client."""

    def response_complete(self, request: InferenceRequest, endpoint: str) -> None:
        """The response has ended, or the client or server has gone."""


class Producer(Plugin):
    """Adds data to candidates before any filter or scorer runs; a late one reads what others added."""

    late = False

    def prepare(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> None:
        raise NotImplementedError


class Filter(Plugin):
    """Takes candidates out."""

    def filter(self, request: InferenceRequest, candidates: list[Candidate]) -> list[Candidate]:
        raise NotImplementedError


class Scorer(Plugin):
    """Gives each candidate a score, in order; the scheduler clamps it to [0, 1]."""

    def score(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> Sequence[float]:
        raise NotImplementedError


class Picker(Plugin):
    """Chooses among scored candidates; best first, never none."""

    def pick(self, candidates: Sequence[Candidate], totals: Sequence[float]) -> list[Candidate]:
        raise NotImplementedError


class Detector(Plugin):
    """Says how full the pool is: 1 and more is saturated."""

    def saturation(self, candidates: Sequence[Candidate], now: float) -> float:
        raise NotImplementedError


# What each profile that ran has picked; None for one that found nobody or was passed over.
Results = dict[str, "list[Candidate] | None"]


class ProfileHandler(Plugin):
    """Decides which profiles run; this one runs a single profile, without being asked."""

    is_single = True
    port = 0  # that requests go to, whatever the endpoint's own; 0: its own

    def bind(self, plugins: Mapping[str, Plugin]) -> None:
        """Look up other plugins that it refers to by name; an error where there is none."""

    def choose(self, request: InferenceRequest, profiles: Collection[str], results: Results) -> Sequence[str]:
        """The profiles to run next; none when all is known."""
        raise NotImplementedError

    def conclude(self, request: InferenceRequest, results: Results) -> tuple[str, str]:
        """The profile that has the destination, and why there is none ("" where there is)."""
        raise NotImplementedError


class Settings(Plugin):
    """A plugin that only carries parameters for another part (data layer, parser, flow control)."""

    def __init__(self, context: PluginContext, values: Any = None) -> None:
        super().__init__(context)
        self.values = values


Factory = Callable[[PluginContext], Plugin]
Registry = Mapping[str, Factory]


class FunctionScorer(Scorer):
    """A pure function with its parameters."""

    def __init__(self, context: PluginContext, function: ScoreFunction[Any], parameters: Any) -> None:
        super().__init__(context)
        self._function = function
        self._parameters = parameters

    def score(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> Sequence[float]:
        return self._function(request, candidates, self._parameters)


def scorer(function: ScoreFunction[P], parameters: type[P] | None = None) -> Factory:
    """The factory of a scorer that is a pure function; `parameters` is a msgspec.Struct of its settings."""
    kind: type[Any] = parameters or NoParameters

    def build(context: PluginContext) -> Plugin:
        return FunctionScorer(context, function, context.decode(kind))

    return build


def load_plugin_file(path: str) -> Registry:
    """The PLUGINS of a Python file: type name -> factory. PickerConfigError says what the file lacks.

    It may import files beside it, which come last on sys.path: a json.py there takes no module's place.
    """
    file = Path(path)
    if not file.is_file():
        raise PickerConfigError(f"--plugin {path}: no such file")
    name = f"simfleet_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PickerConfigError(f"--plugin {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if (folder := str(file.parent.resolve())) not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise PickerConfigError(f"--plugin {path}: {type(error).__name__}: {error}") from error
    plugins = getattr(module, "PLUGINS", None)
    if not isinstance(plugins, dict) or not all(callable(factory) for factory in plugins.values()):
        raise PickerConfigError(
            f'--plugin {path}: it must define PLUGINS = {{"my-scorer": scorer(my_function)}}, '
            "from gateway.picker.plugins.base import scorer"
        )
    return plugins
