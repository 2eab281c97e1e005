"""One request from its body to its pick, and the pick's counters until the response has ended.

The order of steps, and the words of each refusal, are the EPP's (requestcontrol/director.go).
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.picker.compat import Compat
from gateway.picker.decisions import (
    REQUEST_ID,
    DecisionLog,
    decision_record,
    name_prefix,
    unread_record,
    unscheduled_record,
)
from gateway.picker.errors import RequestError
from gateway.picker.flowcontrol import FlowController
from gateway.picker.plugins.base import Plugin
from gateway.picker.plugins.loader import Loaded, producers_of
from gateway.picker.plugins.precise import TOKENS
from gateway.picker.plugins.profiles import Scheduling
from gateway.picker.plugins.scheduler import Cycle, Scheduler, UnschedulableError
from gateway.picker.plugins.text.prompts import token_ids
from gateway.picker.pool.datastore import Datastore
from gateway.picker.pool.endpoints import Candidate, Endpoint
from gateway.picker.pool.exposition import PickerMetrics
from gateway.picker.pool.inflight import InflightLoad
from gateway.picker.pool.rendering import Renderer
from gateway.picker.request import InferenceRequest, RequestBody, bad_json, decode_body, model_of
from gateway.picker.tracing import PickSpans
from gateway.picker.wire import gojson

PREFILL = "prefill"  # the profile whose work is over when the answer begins
SUBSET_NAMESPACE = "envoy.lb.subset_hint"
SUBSET_KEY = "x-gateway-destination-endpoint-subset"
_REWRITE_HEADERS = ("x-gateway-model-name-rewrite", "x-llm-d-model-name-rewrite")


@dataclass(slots=True)
class Incoming:
    """A request as the data plane handed it over; `headers` are lower case."""

    headers: dict[str, str]
    raw: bytes
    metadata: Mapping[str, Any]  # filter_metadata by namespace
    received: float  # monotonic
    body: RequestBody | None = None  # what `raw` says, where that is known; sent on as it is
    size: int = 0  # of a body that is known and whose bytes were never made
    trace: Mapping[str, str] = field(default_factory=dict)  # traceparent of the gateway's span, if it has one


@dataclass(slots=True)
class Routed:
    """Where a request goes and what is sent on."""

    request: InferenceRequest
    endpoints: list[Endpoint]  # best first, never empty
    body: bytes
    cycle: Cycle | None = None  # that chose them; dropped by whoever keeps this for long

    @property
    def scores(self) -> dict[str, float]:
        """The totals by host:port."""
        if self.cycle is None:
            return {}
        pairs = zip(self.cycle.candidates, self.cycle.totals, strict=True)
        return {candidate.endpoint.host_port: total for candidate, total in pairs}

    @property
    def destination(self) -> str:
        return ",".join(endpoint.host_port for endpoint in self.endpoints)


class Director:
    """Everything that decides. `verbosity` is the EPP's -v."""

    def __init__(
        self,
        compat: Compat,
        datastore: Datastore,
        loaded: Loaded,
        *,
        inflight: InflightLoad,
        metrics: PickerMetrics,
        rng: random.Random,
        decisions: DecisionLog | None = None,
        subset_filter: bool = True,
        verbosity: int = 2,
        renderer: Renderer | None = None,
        spans: PickSpans | None = None,
    ) -> None:
        """`renderer`: gives the tokens of texts, where a plugin looks prompts up by them."""
        self.compat = compat
        self._renderer = renderer
        self.metrics = metrics
        self._datastore = datastore
        self._loaded = loaded
        self._inflight = inflight
        self._rng = rng
        self._decisions = decisions
        self._subset_filter = subset_filter
        self._verbosity = verbosity
        self._spans = spans
        producers = producers_of(loaded.plugins)
        schedulers = {n: Scheduler(p, producers, self._observe) for n, p in loaded.profiles.items()}
        self._scheduler = Scheduling(loaded.handler, schedulers, compat)
        self._hooks = list(loaded.plugins.values())
        self.flow_controller: FlowController | None = None
        if loaded.flow_control is not None:
            self.flow_controller = FlowController(
                loaded.flow_control,
                self._pool_saturation,
                lambda: bool(datastore.endpoints),
                self._queued,
                on_cycle=metrics.dispatch_cycle.observe,
                on_enqueue=self._enqueued,
                busy_after_ttl=compat.busy_after_ttl,
            )

    @property
    def is_traced(self) -> bool:
        return self._spans is not None

    def handle(self, incoming: Incoming) -> Routed:
        """The routing of a request; RequestError when the picker answers it itself."""
        request = self._read(incoming)
        try:
            self._shed(request, incoming)
            routed = self._schedule(request, incoming)
        except (RequestError, gojson.NumberError) as error:
            raise self._refused(request, error, incoming) from None
        return self._traced(routed, incoming)

    @property
    def waits(self) -> bool:
        """Whether requests are to be handled by `handle_queued`."""
        return self.flow_controller is not None or self._renderer is not None

    async def handle_queued(self, incoming: Incoming) -> Routed:
        """As `handle`, where a request may wait for its turn or its tokens. Raises what it raises."""
        request = self._read(incoming)
        try:
            if self.compat.sheds_before_queue:
                self._shed(request, incoming)
            if self.flow_controller is not None:
                await self.flow_controller.admit(request)
            elif not self.compat.sheds_before_queue:
                self._shed(request, incoming)
            if self._renderer is not None and self._datastore.endpoints and not token_ids(request.body):
                place = self._rng.choice(self._datastore.endpoints)
                tokens = self._renderer.tokens(request.body, request.target_model, place)
                request.state[TOKENS] = await tokens
            routed = self._schedule(request, incoming)
        except (RequestError, gojson.NumberError) as error:
            raise self._refused(request, error, incoming) from None
        return self._traced(routed, incoming)

    def _traced(self, routed: Routed, incoming: Incoming) -> Routed:
        if self._spans is not None:
            self._spans.record(routed.request, routed.cycle, None, incoming.received, incoming.trace)
        return routed

    def _refused(
        self, request: InferenceRequest, error: RequestError | gojson.NumberError, incoming: Incoming
    ) -> RequestError:
        """Refusals before scheduling go to the decision log; scheduling logs its own."""
        if isinstance(error, gojson.NumberError):
            error = RequestError("BadRequest", bad_json(self.compat, error))
        error.models = request.model, request.target_model
        cycle = error.cycle if isinstance(error, UnschedulableError) else None
        if self._spans is not None:
            self._spans.record(request, cycle, error, incoming.received, incoming.trace)
        if cycle is not None:
            return error
        self._log(request, [], None, error, time.perf_counter())
        return error

    def random_endpoint(self, headers: Mapping[str, str]) -> Endpoint:
        """For a request without a body; RequestError when there is no pod."""
        endpoints = self._datastore.endpoints
        if not endpoints:
            raise RequestError("Internal", "no pods available in datastore")
        endpoint = self._rng.choice(endpoints)
        if self._decisions is not None:
            self._decisions.write(
                unscheduled_record(headers, endpoint.host_port, "no body: a random endpoint", time.time())
            )
        return endpoint

    def response_headers(
        self, routed: Routed | None, headers: MutableMapping[str, str], metadata: Mapping[str, Any]
    ) -> None:
        """Let plugins add to the model server's response headers."""
        request = routed.request if routed else None
        endpoint = routed.endpoints[0].id if routed else ""
        for plugin in self._hooks:
            plugin.response_headers(request, endpoint, headers, metadata)

    def first_byte(self, routed: Routed) -> None:
        """The body of the response begins."""
        self._inflight.first_byte(routed.request)

    def complete(self, routed: Routed) -> None:
        """The response has ended, in whatever way."""
        endpoint = routed.endpoints[0].id
        self._inflight.end(routed.request)
        for plugin in self._hooks:
            plugin.response_complete(routed.request, endpoint)

    def _read(self, incoming: Incoming) -> InferenceRequest:
        try:
            return self._request(incoming, self._decode(incoming))
        except RequestError as error:
            if self._decisions is not None:
                self._decisions.write(unread_record(incoming.headers, error, time.time()))
            raise

    def _decode(self, incoming: Incoming) -> RequestBody:
        if incoming.body is not None:
            return incoming.body
        return decode_body(incoming.raw, incoming.headers, self.compat, self._verbosity, self._loaded.parsers)

    def _request(self, incoming: Incoming, body: RequestBody) -> InferenceRequest:
        headers = incoming.headers
        model = "" if body.api == "raw" else model_of(body.payload)
        target = next((headers[name] for name in _REWRITE_HEADERS if headers.get(name)), "") or model
        if self.compat.rewrites and model:
            rewrite = self._datastore.rewrite(model, self._rng)
            if rewrite is not None:
                target = rewrite[1]
                self.metrics.rewrites.inc(rewrite[0], model, target)
        objective = self._control_header(headers, "objective")
        return InferenceRequest(
            request_id=headers.get(REQUEST_ID, ""),
            model=model,
            target_model=target,
            headers=headers,
            body=body,
            size_bytes=len(incoming.raw) or incoming.size,
            objective=objective,
            fairness_id=self._control_header(headers, "fairness-id") or "default-flow",
            priority=self._datastore.priority(objective),
        )

    def _control_header(self, headers: Mapping[str, str], name: str) -> str:
        prefixes = self.compat.header_prefixes
        return next((value for prefix in prefixes if (value := headers.get(prefix + name))), "")

    def _shed(self, request: InferenceRequest, incoming: Incoming) -> None:
        """Refuse a sheddable request (priority below 0) while the pool is saturated."""
        if request.priority >= 0:
            return
        candidates = self._candidates(incoming.metadata)
        if not candidates and self.compat.sheds_before_queue:
            raise self._no_candidates()
        if self._loaded.detector.saturation(candidates, time.monotonic()) >= 1.0:
            raise RequestError(
                "ResourceExhausted", "system saturated, sheddable request dropped", "rejected-saturated"
            )

    def _schedule(self, request: InferenceRequest, incoming: Incoming) -> Routed:
        started = time.perf_counter()
        candidates = self._candidates(incoming.metadata)
        if not candidates:
            raise self._no_candidates()
        self._scheduler.prepare(request, candidates)
        try:
            cycle = self._scheduler.run(request, candidates)
        except UnschedulableError as error:
            self._scheduled(request, None, started)
            refused = UnschedulableError(error.cycle, self.compat, error.reason)
            self._log(request, candidates, error.cycle, refused, started)
            raise refused from None
        target = cycle.picked[0]
        outgoing = self._outgoing(request, incoming)  # may raise, so before anything is counted
        self._scheduled(request, target, started)
        self._inflight.begin(request, target)
        if cycle.others is not None:
            self._begin_others(request, cycle.others)
        if self._decisions is not None:
            name_prefix(request)
        for plugin in self._hooks:
            plugin.pre_request(request, target)
        self._log(request, candidates, cycle, None, started)
        endpoints = [candidate.endpoint for candidate in cycle.picked]
        if cycle.port:
            endpoints = [replace(endpoint, port=cycle.port) for endpoint in endpoints]
        return Routed(request, endpoints, outgoing, cycle)

    def _begin_others(self, request: InferenceRequest, others: Mapping[str, Cycle]) -> None:
        """The parts of a request's work that other endpoints do."""
        for name, other in others.items():
            if other.picked:
                self._inflight.begin(request, other.picked[0], is_prefill=name == PREFILL)
        handler, decision = request.state.get("disaggregation", (None, ""))
        if handler is not None:
            family = self.metrics.disaggregations[handler.type_name]
            model = self.metrics.model_label(request.target_model or "unknown")
            family.inc(handler.name, handler.type_name, model, decision)

    def _candidates(self, metadata: Mapping[str, Any]) -> list[Candidate]:
        """The endpoints the data plane allows, as they are now."""
        endpoints = self._datastore.endpoints
        subset = self._subset(metadata)
        if subset is not None:
            endpoints = [endpoint for endpoint in endpoints if endpoint.address in subset]
        candidates = [Candidate(endpoint, endpoint.metrics) for endpoint in endpoints]
        self._inflight.prepare(candidates)
        return candidates

    def _subset(self, metadata: Mapping[str, Any]) -> set[str] | None:
        """Addresses of the subset hint, without ports as in the EPP; None when there is no hint."""
        hint = metadata.get(SUBSET_NAMESPACE)
        items = hint.get(SUBSET_KEY) if self._subset_filter and isinstance(hint, Mapping) else None
        if not isinstance(items, list):
            return None
        return {str(item).split(":", 1)[0] for item in items}

    def _pool_saturation(self) -> float:
        return self._loaded.detector.saturation(self._candidates({}), time.monotonic())

    def _no_candidates(self) -> RequestError:
        dropped = "rejected-no-endpoints" if self.compat.no_endpoints_reason else None
        return RequestError("ServiceUnavailable", self.compat.no_candidates_message, dropped)

    def _outgoing(self, request: InferenceRequest, incoming: Incoming) -> bytes:
        """The body that is sent on: encoded anew where the release does that, or where the model changed."""
        payload = request.body.payload
        if request.body.api == "raw" or incoming.body is not None:
            return incoming.raw
        if not self.compat.remarshal_request and request.target_model == request.model:
            return incoming.raw
        return gojson.encode({**payload, "model": request.target_model})

    def _observe(self, point: str, plugin: Plugin, seconds: float) -> None:
        self.metrics.plugin_duration.observe(seconds, point, plugin.type_name, plugin.name)

    def _scheduled(self, request: InferenceRequest, target: Candidate | None, started: float) -> None:
        self.metrics.scheduler_e2e.observe(time.perf_counter() - started)
        model = self.metrics.model_label(request.target_model)
        if target is None:
            self.metrics.scheduler_attempts.inc("failure", model, "", "", "")
            return
        endpoint = target.endpoint
        self.metrics.scheduler_attempts.inc(
            "success", model, endpoint.pod_name, endpoint.namespace, str(endpoint.port)
        )

    def _queued(self, request: InferenceRequest, outcome: str, seconds: float) -> None:
        models = self.metrics.model_label(request.model), self.metrics.model_label(request.target_model)
        flow = self.metrics.flow_label(request.fairness_id)
        labels = (flow, str(request.priority), outcome, self._datastore.pool, *models)
        self.metrics.queue_duration.observe(seconds, *labels)

    def _enqueued(self, request: InferenceRequest, outcome: str, seconds: float) -> None:
        labels = self.metrics.flow_label(request.fairness_id), str(request.priority), outcome
        self.metrics.enqueue_duration.observe(seconds, *labels)

    def _log(
        self,
        request: InferenceRequest,
        candidates: list[Candidate],
        cycle: Cycle | None,
        error: RequestError | None,
        started: float,
    ) -> None:
        if self._decisions is None:
            return
        duration = time.perf_counter() - started
        self._decisions.write(
            decision_record(
                request,
                candidates,
                cycle,
                error,
                now=time.monotonic(),
                wall=time.time(),
                duration=duration,
                most=self._decisions.candidates,
            )
        )
