"""`--otlp-traces`: a span of each pick with what every scorer gave to every candidate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.picker.errors import PickerConfigError
from gateway.picker.tracing import MOST, PickSpans
from gateway.picker.wire.server import ext_proc_methods
from kit import otlp
from tests.collector import Collector, collecting
from tests.gateway.picker.lab import CHART, Lab

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


def _spans(collector: Collector) -> PickSpans:
    return PickSpans(f"{collector.url}/v1/traces", "pool", "ns")


def test_scores_are_attributes_in_the_order_of_the_candidates(collector: Collector) -> None:
    spans = _spans(collector)
    lab = Lab(CHART, spans=spans)
    lab.pool(a={"waiting": 3, "kv_usage": 0.5}, b={"waiting": 0, "kv_usage": 0.0})
    routed = lab.send(headers={"traceparent": PARENT, "x-request-id": "r1"})
    spans.close()
    (span,) = collector.wait("endpoint-picker")
    told = span.attributes
    assert (span.name, span.trace, span.parent) == ("gateway.request_orchestration", *PARENT.split("-")[1:3])
    assert told["picker.endpoint"] == routed.destination == told["picker.candidates"][0]
    assert told["picker.scores.queue-scorer"] == [1.0, 0.0]
    assert told["picker.weights.prefix-cache-scorer"] == 3.0
    assert told["picker.totals"] == sorted(routed.scores.values(), reverse=True)
    assert (told["target_model"], told["request_prio"], told["gen_ai.request.id"]) == ("m", 0, "r1")


def test_a_refusal_says_why(collector: Collector) -> None:
    spans = _spans(collector)
    error = Lab(CHART, spans=spans).refused()
    spans.close()
    (span,) = collector.wait("endpoint-picker")
    assert span.attributes["error.type"] == "ServiceUnavailable"
    assert span.attributes["error.message"] == error.message


def test_of_many_candidates_the_best_are_told(collector: Collector) -> None:
    spans = _spans(collector)
    lab = Lab(CHART, spans=spans)
    lab.pool(**{f"p{number}": {"waiting": number} for number in range(3 * MOST)})
    lab.send()
    spans.close()
    (span,) = collector.wait("endpoint-picker")
    assert len(span.attributes["picker.candidates"]) == MOST
    assert span.attributes["picker.totals"][0] == max(span.attributes["picker.totals"])


def test_the_gateways_own_span_comes_first(collector: Collector) -> None:
    spans = _spans(collector)
    call = next(iter(ext_proc_methods(Lab(CHART, spans=spans).director).values()))()
    call.begin([(":path", "/x"), ("traceparent", PARENT)])
    assert call._conversation.trace == {"traceparent": PARENT}  # type: ignore[attr-defined]
    untraced = next(iter(ext_proc_methods(Lab(CHART).director).values()))()
    untraced.begin([("traceparent", PARENT)])
    assert untraced._conversation.trace == {}  # type: ignore[attr-defined]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "find_spec", lambda _: None)
    with pytest.raises(PickerConfigError, match=r"--otlp-traces: .* pip install 'vllm-simfleet\[otlp\]'"):
        PickSpans("http://127.0.0.1:1/v1/traces", "pool", "ns")
