"""Small makers of what decisions are about."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from gateway.picker.compat import GIE_V12, Compat
from gateway.picker.config import parse_config
from gateway.picker.plugins.builtin import BUILTIN
from gateway.picker.plugins.loader import Loaded, Loader
from gateway.picker.pool.endpoints import Candidate, Endpoint, EndpointMetrics
from gateway.picker.pool.inflight import InflightLoad
from gateway.picker.request import InferenceRequest, RequestBody

API = {
    "gie": "inference.networking.x-k8s.io/v1alpha1",
    "llm-d": "llm-d.ai/v1alpha1",
}


def endpoint(name: str, host: int = 2, port: int = 8000, **labels: str) -> Endpoint:
    address = f"127.0.0.{host}"
    return Endpoint(name, "ns", address, port, f"{address}:{port}", labels, name)


def candidate(
    name: str = "a", host: int = 2, *, labels: Mapping[str, str] | None = None, **values: Any
) -> Candidate:
    """A candidate; values go to its metrics, or to itself where it has the field."""
    own = {key: values.pop(key) for key in list(values) if key.startswith(("inflight_", "prefix_"))}
    place = endpoint(name, host)
    place.labels = dict(labels or {})
    place.metrics = EndpointMetrics(**values)
    return Candidate(place, place.metrics, **own)


def request(
    target: str = "m", *, headers: Mapping[str, str] | None = None, **payload: Any
) -> InferenceRequest:
    """A completions request, or a chat request if it has messages."""
    api = "chat" if "messages" in payload else "completions"
    body = RequestBody(api, {"model": target, **payload})  # type: ignore[arg-type]
    return InferenceRequest("id-1", target, target, headers or {}, body)


def load(text: str, compat: Compat = GIE_V12, warnings: list[str] | None = None) -> Loaded:
    """A configuration as the picker loads it."""
    heard = warnings if warnings is not None else []
    loader = Loader(compat, BUILTIN, random.Random(1), InflightLoad(), heard.append)
    return loader.load(parse_config(text, compat))


def config(*plugins: str, api: str = "gie", rest: str = "") -> str:
    """A configuration of one-line YAML plugins and whatever else."""
    listed = "".join(f"- {plugin}\n" for plugin in plugins)
    return f"apiVersion: {API[api]}\nkind: EndpointPickerConfig\nplugins:\n{listed}{rest}"
