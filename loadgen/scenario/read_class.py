"""Reads one class of traffic out of a scenario's YAML, with `defaults:` underneath it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from loadgen.numbers.outcomes import OUTCOMES
from loadgen.scenario.presets import PRESETS
from loadgen.scenario.read_arrival import read_arrival, read_distribution
from loadgen.scenario.read_trace import api_of_prompts, read_trace_source
from loadgen.scenario.scenario import (
    API_HEADERS,
    PATHS,
    WHOLE_APIS,
    Api,
    Arrival,
    ClassSpec,
    Distribution,
    ModelShare,
    Prefix,
    Retry,
    Sessions,
    Workload,
)
from loadgen.scenario.yamlnodes import Node

OBJECTIVE = "x-gateway-inference-objective"
FAIRNESS = "x-gateway-inference-fairness-id"
FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# What a source of prompts says itself, so that a class cannot say it besides.
_FIXED = {
    "prompt": ("prefix", "input_tokens"),
    "preset": ("prefix", "sessions", "input_tokens", "output_tokens"),
    "trace": ("prefix", "input_tokens", "output_tokens"),
}


@dataclass(frozen=True, slots=True)
class Context:
    """What a class inherits from its scenario."""

    model: str | None
    duration: float | None
    load: Arrival | None
    weight_sum: float
    directory: Path
    replay: bool = False
    """The load comes from a plan: a trace's file need not be there."""


class Layers:
    """A class's own mapping over the scenario's `defaults:`; the first that has a key gives it."""

    def __init__(self, own: Node, defaults: Node | None) -> None:
        self.own = own
        self.defaults = defaults

    def get(self, key: str) -> Node | None:
        found = self.own.get(key)
        inherited = self.defaults.get(key) if self.defaults is not None else None
        return found if found is not None else inherited

    def texts(self, key: str) -> dict[str, str]:
        """Mappings under `key` in both layers, merged; the class's own entries win."""
        merged: dict[str, str] = {}
        for layer in (self.defaults, self.own):
            node = layer.get(key) if layer is not None else None
            merged.update(node.strings() if node else {})
        return merged


def read_class(name: str, own: Node, defaults: Node | None, context: Context) -> ClassSpec:
    """One class; raises ScenarioError naming the line."""
    layers = Layers(own, defaults)
    api_node = layers.get("api")
    workload = _read_workload(layers, context)
    usual = api_of_prompts(workload.trace) if workload.trace is not None else None
    api = cast(Api, api_node.choice(PATHS)) if api_node else usual or "completions"
    spec = ClassSpec(
        name=name,
        arrival=_read_class_arrival(layers, context),
        workload=workload,
        models=_read_models(layers, context),
        api=api,
        path=PATHS[api],
        headers={**API_HEADERS.get(api, {}), **_read_headers(layers)},
        cancel_after=None,
        line=own.line,
    )
    spec = _read_switches(layers, spec)
    if spec.arrival.process == "trace" and spec.workload.trace is None:
        raise own.error("`process: trace` needs the class's `trace:`")
    own.done()
    return spec


def _read_class_arrival(layers: Layers, context: Context) -> Arrival:
    node, share = layers.get("arrival"), weight_of(layers) / context.weight_sum
    if node is not None:
        timed = layers.get("trace") is not None and not (node.get("rate") or node.get("stages"))
        usual = "clients" if layers.get("preset") else "trace" if timed else "poisson"
        arrival = read_arrival(node, context.duration, usual, rows=layers.get("trace") is not None)
        if arrival.process == "clients" and layers.get("preset") is None:
            raise node.error("`process: clients` needs the class's `preset:`")
        return arrival
    if context.load is None:
        raise layers.own.missing("arrival", " (or the scenario a `load:`)")
    stages = tuple(
        replace(
            stage,
            rate=stage.rate * share,
            end_rate=None if stage.end_rate is None else stage.end_rate * share,
        )
        for stage in context.load.stages
    )
    return replace(context.load, stages=stages)


def weight_of(layers: Layers) -> float:
    """A class's part of the scenario's `load:`, against the weights of the others."""
    node = layers.get("weight")
    return node.number(0) if node else 1.0


def _read_models(layers: Layers, context: Context) -> tuple[ModelShare, ...]:
    model_node, models_node, adapters_node = layers.get("model"), layers.get("models"), layers.get("adapters")
    shares: list[ModelShare] = []
    if model_node is not None:
        shares.append(ModelShare(model_node.text()))
    for node, adapter in ((models_node, False), (adapters_node, True)):
        if node is None:
            continue
        if node.is_list:
            shares += [ModelShare(item.text(), 1.0, adapter) for item in node.elements()]
        else:
            shares += [ModelShare(key, item.number(0), adapter) for key, item in node.items().items()]
    if adapters_node is not None and model_node is not None:
        shares = shares[
            1:
        ]  # `model:` names the base of the adapters; `models: {base: w}` puts it into the mix
    if not shares:
        if context.model is None:
            raise layers.own.error("needs `model:` (or --model, or `model:` at the top)")
        shares = [ModelShare(context.model)]
    if sum(share.weight for share in shares) <= 0:
        raise (adapters_node or models_node or layers.own).error("the weights of the models are all 0")
    return tuple(shares)


def _read_headers(layers: Layers) -> dict[str, str]:
    headers = {key.lower(): value for key, value in layers.texts("headers").items()}
    for key, header in (("objective", OBJECTIVE), ("fairness_id", FAIRNESS)):
        node = layers.get(key)
        if node is not None:
            headers[header] = node.text()
    slo = layers.get("slo_headers")
    if slo is not None:
        for key in ("ttft", "tpot"):
            limit = slo.get(key)
            if limit is not None:
                headers[f"x-slo-{key}-ms"] = f"{limit.duration() * 1000:g}"
        slo.done()
    for key, value in headers.items():
        if wrong := _wrong_header(key, value):
            raise layers.own.error(f"header {key!r} {wrong}")
    return headers


def _wrong_header(name: str, value: str) -> str | None:
    """Why HTTP cannot carry a header, None when it can (RFC 9110: tokens, and Latin-1 without controls)."""
    if name in FRAMING:
        return "is set by the client itself; leave it out"
    if not _TOKEN.fullmatch(name):
        return "is no header name: letters, digits and !#$%&'*+-.^_`|~ only"
    if any(character in value for character in "\r\n\0"):
        return "holds a line break"
    if not value.isascii() and not all(ord(character) < 256 for character in value):
        return "holds characters that HTTP cannot carry; percent-encode them"
    return None


def _read_switches(layers: Layers, spec: ClassSpec) -> ClassSpec:
    eos, token = layers.get("ignore_eos"), layers.get("session_token")
    max_tokens, timeout = layers.get("max_tokens"), layers.get("timeout")
    retry, cancel, priority = layers.get("retry"), layers.get("cancel_after"), layers.get("priority")
    body, path = layers.get("body"), layers.get("path")
    if retry is not None:
        spec = replace(spec, retry=_read_retry(retry))
    if cancel is not None:
        spec = _read_cancel(cancel, spec)
    extra: object = {}
    if body is not None:
        body.items()
        extra = body.value
    streamed = _read_stream(layers, spec)
    spec = _read_patience(layers, spec, streamed=streamed)
    return replace(
        spec,
        path=_read_path(path) if path else spec.path,
        stream=streamed,
        ignore_eos=eos.boolean() if eos else False,
        session_token=token.boolean() if token else False,
        max_tokens=max_tokens.integer(1) if max_tokens else None,
        timeout=timeout.duration(1e-3) if timeout else spec.timeout,
        priority=priority.integer() if priority else None,
        body=cast("dict[str, object]", extra),
    )


def _read_cancel(node: Node, spec: ClassSpec) -> ClassSpec:
    """`cancel_after:` as a distribution, or with the share of requests that are cancelled beside it."""
    tokens, share = node, None
    if node.is_mapping and node.get("tokens"):
        tokens, share = node.need("tokens"), node.get("share")
        node.done()
    return replace(spec, cancel_after=read_distribution(tokens), cancel_share=share.share() if share else 1.0)


def _read_stream(layers: Layers, spec: ClassSpec) -> bool:
    """`stream:`; answers come in pieces where the API has such."""
    stream, whole = layers.get("stream"), spec.api in WHOLE_APIS
    if whole and stream is not None and stream.boolean():
        raise stream.error(f"`api: {spec.api}` answers are never streamed")
    return stream.boolean() if stream else not whole


def _read_patience(layers: Layers, spec: ClassSpec, *, streamed: bool) -> ClassSpec:
    """The timeouts that only a stream has."""
    limits = {}
    for key in ("ttft_timeout", "itl_timeout"):
        node = layers.get(key)
        if node is None:
            continue
        if not streamed:
            raise node.error("is a limit on tokens, which whole answers (`stream: false`) do not show")
        limits[key] = node.duration(1e-3)
    return replace(spec, ttft_timeout=limits.get("ttft_timeout"), itl_timeout=limits.get("itl_timeout"))


def _read_path(node: Node) -> str:
    path = node.text()
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise node.error(f"must be a URL's path such as /v1/completions, not {path!r}")
    return path


def _read_retry(node: Node) -> Retry:
    base = Retry()
    attempts, on = node.need("attempts").integer(1), node.get("on")
    backoff, factor, jitter = node.get("backoff"), node.get("factor"), node.get("jitter")
    most, honour = node.get("max_backoff"), node.get("retry_after")
    node.done()
    return Retry(
        attempts=attempts,
        on=tuple(item.choice(OUTCOMES) for item in on.elements()) if on else base.on,
        backoff=backoff.duration() if backoff else base.backoff,
        factor=factor.number(1) if factor else base.factor,
        max_backoff=most.duration() if most else base.max_backoff,
        jitter=jitter.share() if jitter else base.jitter,
        retry_after=honour.boolean() if honour else True,
    )


def _read_workload(layers: Layers, context: Context) -> Workload:
    base = Workload()
    prompt, form, vocabulary = layers.get("prompt"), layers.get("form"), layers.get("vocabulary")
    input_tokens, output_tokens = layers.get("input_tokens"), layers.get("output_tokens")
    prefix, sessions = layers.get("prefix"), layers.get("sessions")
    preset, trace = layers.get("preset"), layers.get("trace")
    _check_source(layers)
    workload = Workload(
        prompt=prompt.text() if prompt else None,
        form="tokens" if form and form.choice(("text", "tokens")) == "tokens" else "text",
        input_tokens=read_distribution(input_tokens) if input_tokens else base.input_tokens,
        output_tokens=read_distribution(output_tokens) if output_tokens else base.output_tokens,
        vocabulary=vocabulary.integer(1100) if vocabulary else base.vocabulary,
        prefix=_read_prefix(prefix) if prefix else None,
        sessions=_read_sessions(sessions) if sessions else None,
        preset=preset.choice(PRESETS) if preset else None,
        trace=read_trace_source(trace, context.directory, replay=context.replay) if trace else None,
    )
    if workload.form == "tokens":
        _check_tokens(workload, layers)
    return workload


def _check_tokens(workload: Workload, layers: Layers) -> None:
    """Prompts of token ids go with few sources and one route."""
    texts = (workload.prompt, workload.preset, workload.sessions)
    talk = workload.trace is not None and workload.trace.format in ("sharegpt", "openai")
    if talk or any(each is not None for each in texts):
        raise (layers.get("form") or layers.own).error(
            "`form: tokens` goes with synthetic and trace prompts only"
        )
    api = layers.get("api")
    if api is not None and api.text() != "completions":
        raise api.error("token ids are prompts of `api: completions` only")


def _check_source(layers: Layers) -> None:
    """One source of prompts, and beside it nothing that it fixes; what `defaults:` say may be of no use."""
    sources = {key: node for key in _FIXED if (node := layers.get(key)) is not None}
    if len(sources) > 1:
        second = list(sources.values())[1]
        raise second.error("a class has one source of prompts: `prompt:`, `preset:` or `trace:`")
    for source, value in sources.items():
        given = value.is_mapping and (kind := value.get("format")) is not None and kind.text() == "openai"
        if source == "prompt" and not value.text():
            raise value.error("is empty; leave it out for prompts of `input_tokens:` words")
        for key in _FIXED[source]:
            if (node := layers.own.get(key)) is not None and not (given and key == "output_tokens"):
                raise node.error(f"`{source}:` says that itself; leave one of them out")


def _read_prefix(node: Node) -> Prefix:
    zipf, hot = node.get("zipf"), node.get("hot")
    if zipf and hot:
        raise hot.error("give either `zipf:` or `hot:`")
    prefix = Prefix(
        groups=node.need("groups").integer(1),
        tokens=read_distribution(node.need("tokens")),
        zipf=zipf.number(0) if zipf else 0.0,
        hot=hot.share() if hot else None,
    )
    node.done()
    return prefix


def _read_sessions(node: Node) -> Sessions:
    think, later, on_error = node.get("think"), node.get("input_tokens"), node.get("on_error")
    sessions = Sessions(
        turns=read_distribution(node.need("turns")),
        think=read_distribution(think, seconds=True, low=0.0) if think else Distribution("fixed"),
        input_tokens=read_distribution(later) if later else None,
        on_error="continue" if on_error and on_error.choice(("abort", "continue")) == "continue" else "abort",
    )
    node.done()
    return sessions
