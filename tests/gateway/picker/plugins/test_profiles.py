"""Disaggregation: which profiles run, where the work goes, and what the sidecar is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.picker.compat import LLMD_HEAD, LLMD_V010, LLMD_V04, LLMD_V05, Compat
from gateway.picker.errors import PickerConfigError
from tests.gateway.picker.factories import config, endpoint, load
from tests.gateway.picker.lab import Lab

ROLES = {
    "p1": "prefill",
    "d1": "decode",
    "e1": "encode",
    "both": "both",
    "none": "",
    "ep": "encode-prefill",
    "odd": "something",
}
PROFILES = """\
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer}]
"""
ENCODE = "- {name: encode, plugins: [{pluginRef: encode-filter}]}\n"
FILTERS = ("{type: decode-filter}", "{type: prefill-filter}", "{type: queue-scorer}")
DISAGG = "{type: disagg-profile-handler, parameters: {deciders: {prefill: prefix-based-pd-decider}}}"
DECIDER = "{type: prefix-based-pd-decider, parameters: {nonCachedTokens: 100}}"
TOLD, ENCODERS = "x-prefiller-host-port", "x-encoder-hosts-ports"


def lab_of(
    *plugins: str, compat: Compat = LLMD_V010, rest: str = PROFILES, log: Path | None = None, **roles: str
) -> Lab:
    api = "llm-d" if compat.strict_parameters else "gie"
    lab = Lab(config(*FILTERS, *plugins, api=api, rest=rest), compat, log)
    roles = roles or {"p1": "prefill", "d1": "decode"}
    places = [endpoint(name, host) for host, name in enumerate(roles, 2)]
    for place in places:
        place.labels = {"llm-d.ai/role": roles[place.name]} if roles[place.name] else {}
    lab.store.replace(places)
    return lab


def sent(lab: Lab, prompt: str, headers: Mapping[str, str] | None = None, **body: Any) -> tuple[str, str]:
    """(where it is decoded, what the sidecar is told of prefill)."""
    routed = lab.send(prompt, headers=headers, **body)
    return routed.endpoints[0].name, routed.request.headers.get(TOLD, "")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("decode-filter", {"d1", "both", "none"}),
        ("prefill-filter", {"p1", "both", "ep"}),
        ("encode-filter", {"e1", "ep"}),
    ],
)
def test_filters_by_role(kind: str, names: set[str]) -> None:
    profile = f"schedulingProfiles:\n- {{name: default, plugins: [{{pluginRef: {kind}}}]}}\n"
    lab = lab_of("{type: encode-filter}", rest=profile, **ROLES)
    assert {lab.send().endpoints[0].name for _ in range(60)} == names


def test_long_prompts_are_prefilled_elsewhere(tmp_path: Path) -> None:
    lab = lab_of(DECIDER, DISAGG, log=tmp_path / "log")
    assert sent(lab, "x" * 396) == ("d1", "")
    assert sent(lab, "y" * 400) == ("d1", "127.0.0.2:8000")
    last = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert (last["pick"], last["profiles"]) == (["127.0.0.3:8000"], {"prefill": ["127.0.0.2:8000"]})
    metrics = lab.metrics.registry.render()
    for decision in ("decode-only", "prefill-decode"):
        labels = f'plugin_type="disagg-profile-handler",model_name="m",decision_type="{decision}"'
        assert f'{{plugin_name="disagg-profile-handler",{labels}}} 1' in metrics


def test_what_is_cached_where_it_is_decoded_needs_no_prefill() -> None:
    lab = lab_of(DECIDER, DISAGG)
    assert sent(lab, "x" * 4096)[1] == "127.0.0.2:8000"
    assert sent(lab, "x" * 4096)[1] == "", "both have it by now"
    assert sent(lab, "x" * 4096 + "y" * 392)[1] == ""
    assert sent(lab, "x" * 4096 + "z" * 420)[1] == "127.0.0.2:8000"


def test_a_clients_own_header_does_not_count() -> None:
    lab = lab_of(DECIDER, DISAGG)
    assert sent(lab, "x", {TOLD: "10.0.0.1:1"}) == ("d1", "")


def test_loads_of_a_prefill_end_where_the_answer_begins() -> None:
    lab = lab_of(DECIDER, DISAGG)
    routed = lab.send("x" * 4000)
    assert (lab.inflight.requests("ns/p1"), lab.inflight.requests("ns/d1")) == (1, 1)
    lab.director.first_byte(routed)
    assert (lab.inflight.requests("ns/p1"), lab.inflight.requests("ns/d1")) == (0, 1)
    lab.director.complete(routed)
    assert lab.inflight.requests("ns/d1") == 0


def test_without_a_pod_for_prefill_it_is_all_done_where_it_is_decoded() -> None:
    assert sent(lab_of(DECIDER, DISAGG, d1="decode"), "x" * 4000) == ("d1", "")


def test_without_a_pod_for_decode_there_is_429() -> None:
    error = lab_of(DECIDER, DISAGG, p1="prefill").refused()
    assert (error.status, error.dropped) == (429, None)
    assert error.message == "failed to find target endpoint: failed to find available decode workers"
    head = lab_of(DECIDER, DISAGG, compat=LLMD_HEAD, p1="prefill").refused()
    assert (head.message, head.dropped) == (
        "no endpoints available for the given request",
        "rejected-saturated",
    )


def test_pictures_are_encoded_elsewhere() -> None:
    handler = (
        "{type: disagg-profile-handler, parameters: {deciders: {prefill: always-disagg-pd-decider, "
        "encode: always-disagg-multimodal-decider}}}"
    )
    lab = lab_of(
        "{type: encode-filter}",
        "{type: always-disagg-pd-decider}",
        "{type: always-disagg-multimodal-decider}",
        handler,
        rest=PROFILES + ENCODE,
        p1="prefill",
        d1="decode",
        e1="encode",
    )
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]
    path = {":path": "/v1/chat/completions"}
    routed = lab.send(headers=path, messages=picture)
    assert routed.request.headers[ENCODERS] == "127.0.0.4:8000"
    assert routed.request.headers[TOLD] == "127.0.0.2:8000"
    plain = lab.send(headers=path, messages=[{"role": "user", "content": "x"}])
    assert ENCODERS not in plain.request.headers


def test_prefill_first_runs_always() -> None:
    lab = lab_of("{type: disagg-profile-handler, parameters: {stageOrder: prefill-first}}")
    assert sent(lab, "x") == ("d1", "127.0.0.2:8000")


THRESHOLD = "{type: pd-profile-handler, parameters: {threshold: 200, hashBlockSize: 64}}"


@pytest.mark.parametrize(("compat", "cached"), [(LLMD_V04, 1), (LLMD_V05, 0)])
def test_the_threshold_of_old_handlers_counts_bytes(compat: Compat, cached: int) -> None:
    """v0.4 takes one block that is cached for the model's name."""
    plugins = ("{type: prefix-cache-scorer}", "{type: prefill-header-handler}", THRESHOLD)
    rest = PROFILES.replace("{pluginRef: queue-scorer}", "{pluginRef: prefix-cache-scorer}")
    lab = lab_of(*plugins, compat=compat, rest=rest)
    assert sent(lab, "x" * 199) == ("d1", "")
    assert sent(lab, "y" * 200) == ("d1", "127.0.0.2:8000")
    assert sent(lab, "y" * 192 + "z" * (200 - 64 * cached))[1] == "127.0.0.2:8000"
    assert sent(lab, "y" * 192 + "w" * (199 - 64 * cached))[1] == ""


def test_the_port_of_a_rank_is_told_beside_the_one_that_is_asked() -> None:
    lab = lab_of(
        "{type: data-parallel-profile-handler, parameters: {primaryPort: 8200}}",
        rest="schedulingProfiles:\n- {name: default, plugins: [{pluginRef: queue-scorer}]}\n",
        d1="decode",
    )
    routed = lab.send()
    assert routed.destination == "127.0.0.2:8200"
    assert routed.request.headers["x-data-parallel-host-port"] == "127.0.0.2:8000"


def test_a_header_chooses_the_profile() -> None:
    lab = lab_of("{type: header-profile-handler, parameters: {headerName: X-Stage, defaultProfile: decode}}")
    assert sent(lab, "x")[0] == "d1"
    assert sent(lab, "x", {"x-stage": "prefill"})[0] == "p1"
    assert "no scheduling profile matches" in lab.refused(headers={"x-stage": "nobody"}).message


@pytest.mark.parametrize(
    ("plugins", "words"),
    [
        (("{type: disagg-profile-handler, parameters: {deciders: {prefill: nobody}}}",), "decider"),
        (("{type: disagg-profile-handler, parameters: {stageOrder: sideways}}",), "stage order"),
        (("{type: pd-profile-handler}",), "invalid decider plugin type: prefix-based-pd-decider"),
        (("{type: pd-profile-handler, parameters: {primaryPort: 70000}}",), "primaryPort"),
        (("{type: prefix-based-pd-decider, parameters: {promptTokens: -1}}", DISAGG), "negative"),
        (("{type: single-profile-handler}",), "single profile handler is intended"),
        (("{type: header-profile-handler}",), "headerName is missing"),
        ((), "no profile handler was specified"),
    ],
)
def test_refusals(plugins: tuple[str, ...], words: str) -> None:
    with pytest.raises(PickerConfigError, match=words):
        load(config(*FILTERS, *plugins, api="llm-d", rest=PROFILES), LLMD_V010)
