"""Names of faults on the command line, and faults in words."""

from __future__ import annotations

import pytest

from gateway.errors import UsageError
from gateway.stack.faults import FAULTS, Wanted, in_words, read_faults


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], Wanted()),
        (["stall"], Wanted(stall_s=2.0)),
        (["stall=0.5", "slow=3"], Wanted({"latency_factor": 3.0}, stall_s=0.5)),
        (["cut"], Wanted({"cut_stream_after": 10})),
        (["hang", "refuse=off"], Wanted({"hang_requests": True, "refuse": False})),
        (["errors=30"], Wanted({"failure_injection_rate": 30, "failure_types": ["server_error"]})),
        (["metrics=a:b:1,c:0.5"], Wanted({"metrics_override": {"a:b": 1.0, "c": 0.5}})),
        (["metrics-status", "metrics-hang"], Wanted({"metrics_status": 503, "metrics_hang": True})),
        (["usage", "truncate"], Wanted({"usage": "missing", "truncate": True})),
        (["content-type", "slow-headers=1"], Wanted({"content_type": "text/html", "slow_headers": 1.0})),
        (["slow", "off"], Wanted(clear=True)),
        (["off", "unready"], Wanted({"unready": True}, clear=True)),
    ],
)
def test_what_names_mean(words: list[str], wanted: Wanted) -> None:
    assert read_faults(words) == wanted


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("meteor", "there is no fault 'meteor'; there are stall, slow"),
        ("slow=x", "latency_factor must be a number from 0 to 1e\\+06, not 'x'"),
        ("errors=101", "errors must be a number from 0 to 100"),
        ("hang=maybe", "hang_requests is on or off"),
        ("metrics", "metrics wants a value: metrics=FAMILY:VALUE"),
        ("metrics=7", "such as vllm:num_requests_waiting:0"),
        ("usage=odd", "missing or malformed"),
        ("stall=-1", "stall must be"),
    ],
)
def test_what_is_no_fault(word: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_faults([word])


def test_every_fault_without_a_value_can_be_read() -> None:
    for name, fault in FAULTS.items():
        if fault.default is not None:
            assert read_faults([name]) != Wanted()


def test_words() -> None:
    none = {"failure_injection_rate": 0, "failure_types": ["a"], "latency_factor": 1.0, "refuse": False}
    assert in_words(none) == "none"
    assert in_words({**none, "latency_factor": 2.0, "refuse": True}) == "latency_factor 2.0, refuse"
