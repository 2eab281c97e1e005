"""`--otlp-traces`: a span of each pick, with what every scorer gave to every candidate.

Named as the EPP's (`gateway.request_orchestration`, pkg/epp/requestcontrol/director.go), from the request's
arrival to the pick, time in flow control included. `target_model` and `request_prio` are attributes of the
EPP, `picker.*` are ours.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping

from gateway.picker.errors import PickerConfigError, RequestError
from gateway.picker.plugins.scheduler import Cycle
from gateway.picker.request import InferenceRequest
from kit.otlp import Exporters, Spans, Value

NAME = "gateway.request_orchestration"
TRACE_HEADERS = ("traceparent", "tracestate")
MOST = 32  # candidates whose scores a span tells


class PickSpans:
    """Where a picker's spans go."""

    def __init__(self, url: str, pool: str, namespace: str) -> None:
        """PickerConfigError where the extra is not installed."""
        resource = {"service.name": "endpoint-picker", "picker.pool": pool, "k8s.namespace.name": namespace}
        self._exporters = Exporters()
        try:
            self._spans: Spans = self._exporters.spans(url, "http/protobuf", resource, "gateway.picker")
        except ValueError as error:
            raise PickerConfigError(f"--otlp-traces: {error}") from None

    def record(
        self,
        request: InferenceRequest,
        cycle: Cycle | None,
        error: RequestError | None,
        received: float,
        trace: Mapping[str, str],
    ) -> None:
        """One pick, or one refusal; `received` is monotonic, `trace` the headers of the gateway's span.

        Without one it stands below the client's own `traceparent`.
        """
        found = attributes(request, cycle, error)
        self._spans.record(NAME, received, time.monotonic(), found, trace or request.headers)

    def close(self) -> None:
        """Send what is left; waits for the collector, a few seconds at most."""
        self._exporters.close()


def attributes(
    request: InferenceRequest, cycle: Cycle | None, error: RequestError | None
) -> Mapping[str, Value]:
    """The MOST best of `picker.candidates`, and in their order `picker.totals` and `picker.scores.SCORER`."""
    found: dict[str, Value] = {
        "target_model": request.target_model,
        "request_prio": request.priority,
        "gen_ai.request.model": request.model,
        "gen_ai.request.id": request.request_id,
        "picker.fairness_id": request.fairness_id,
    }
    if error is not None:
        found |= {"error.type": error.code, "error.message": error.message}
    if cycle is None:
        return found
    if cycle.picked:
        found["picker.endpoint"] = cycle.picked[0].endpoint.host_port
        found["picker.pod"] = cycle.picked[0].endpoint.pod_name
    shown = heapq.nlargest(MOST, range(len(cycle.totals)), key=cycle.totals.__getitem__)
    found["picker.candidates"] = [cycle.candidates[i].endpoint.host_port for i in shown]
    found["picker.totals"] = [float(cycle.totals[i]) for i in shown]
    for (scorer, scores), weight in zip(cycle.scores, cycle.weights, strict=True):
        found[f"picker.scores.{scorer}"] = [float(scores[i]) for i in shown]
        found[f"picker.weights.{scorer}"] = float(weight)
    return found
