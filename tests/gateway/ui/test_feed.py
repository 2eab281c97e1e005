"""The feed's parts: bounded, joined by request, and told by second."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.stack.reconfigure import with_config
from gateway.ui.envoydump import clusters, parsed, routes_of
from gateway.ui.feed import new_lines, role_of
from gateway.ui.rates import POINTS, WINDOW_S, Rates, quantile
from gateway.ui.rows import Access, Requests, read_access
from gateway.why.decision import Decision

HEADER = {"name": "x", "string_match": {"exact": "y"}}
CLUSTERS = [{"name": "a", "weight": 3}, {"name": "b", "weight": 1}]


def line(name: str, **fields: object) -> bytes:
    return json.dumps(
        {"request_id": name, "status": 200, "served": "a:1", "picked": "a:1", **fields}
    ).encode()


def test_rows_are_bounded_and_joined() -> None:
    requests = Requests(most=3, decisions=2)
    for number in range(5):
        requests.decided(Decision(float(number), f"r{number}", target_model="m"))
    raw = line("r4")
    entry = read_access(raw)
    assert entry is not None
    requests.answered("g", entry, raw)
    assert [row["id"] for row in requests.all()] == ["r2", "r3", "r4"]
    assert requests.all()[-1]["status"] == 200
    assert [d.request_id for d in requests.decisions] == ["r3", "r4"]
    assert len(requests.changed()) == 3
    assert requests.changed() == []
    assert requests.explain("r0", {}) is None
    told = requests.explain("r2", {})
    assert told is not None
    assert told["rows"] == [], "its decision is gone, its row is not"


def test_an_answer_whose_row_went_in_a_burst_keeps_its_reason() -> None:
    requests = Requests(most=2, decisions=4)
    for number in range(4):
        requests.decided(Decision(float(number), f"r{number}", target_model="m"))
    for number in range(4):
        raw = line(f"r{number}")
        entry = read_access(raw)
        assert entry is not None
        requests.answered("g", entry, raw)
    assert [row["id"] for row in requests.all()] == ["r2", "r3"]
    assert all("reason" in row and row["status"] == 200 for row in requests.all())


def test_a_line_that_is_none() -> None:
    assert read_access(b"half a li") is None
    assert read_access(b'{"status": "x"}') is None


def test_seconds_are_bounded_and_averaged_over_the_window() -> None:
    rates = Rates()
    for second in range(POINTS + 50):
        rates.answered("g", "80", Access(status=200, first_byte_ms=float(second), served="a:1", cluster="c"))
        rates.answered("g", "80", Access(status=503, cluster="c"))
        point = rates.turn(float(second), {"pods": [{"running": 2, "waiting": 1}]}, 5.0)
    assert len(rates.points) == POINTS
    assert (point["n"], point["bad"], point["running"], point["tokens"]) == (2, 1, 2, 5.0)
    flow = rates.flow()
    assert flow["window_s"] == WINDOW_S
    ways = {(way["place"], way["kind"]): way["rate"] for way in flow["ways"]}
    assert ways == {("a:1", "2xx"): 1.0, ("", "5xx"): 1.0}
    assert flow["hops"]["first_byte"]["count"] == WINDOW_S
    assert flow["hops"]["picker"] is None


def test_quantiles_by_nearest_rank() -> None:
    assert quantile([], 0.5) is None
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0], 0.9) == 1.0


def test_events_of_a_list_that_loses_its_oldest() -> None:
    assert new_lines([], ["a"]) == ["a"]
    assert new_lines(["a", "b"], ["a", "b", "c"]) == ["c"]
    assert new_lines(["a", "b"], ["b", "c", "d"]) == ["c", "d"]
    assert new_lines(["a"], ["x", "y"]) == ["x", "y"]
    assert new_lines(["a", "b"], ["a", "b"]) == []


def test_roles_of_disaggregated_servers() -> None:
    assert role_of(["--kv-transfer-config", '{"kv_role": "kv_producer"}']) == "prefill"
    assert role_of(['--kv_transfer_config={"kv_role": "kv_consumer"}']) == "decode"
    assert role_of(["--kv-transfer-config", "nonsense"]) is None
    assert role_of(["--model", "m"]) is None


def test_a_pickers_command_line_with_another_configuration() -> None:

    argv = ["picker", "--config-file=/a", "--v=1", "--config-text=b"]
    assert with_config(argv, Path("/c")) == ("picker", "--v=1", "--config-file=/c")
    assert with_config(argv, None) == ("picker", "--v=1")


def test_what_an_envoy_runs() -> None:
    route = {
        "name": "lab.r.0",
        "match": {"path_separated_prefix": "/v1", "headers": [HEADER]},
        "route": {"weighted_clusters": {"clusters": CLUSTERS}},
    }
    lost = {"name": "lab.r.1", "match": {"prefix": "/"}, "direct_response": {"status": 500}}
    hosts = [{"domains": ["*"], "routes": [route, lost]}]
    manager = {"route_config": {"name": "http.80", "virtual_hosts": hosts}}
    listener = {
        "address": {"socket_address": {"port_value": 8080}},
        "filter_chains": [{"filters": [{"typed_config": manager}, {"typed_config": {}}]}],
    }
    page = json.dumps({"configs": [{"static_listeners": [{"listener": listener}]}]}).encode()
    dump, broken = parsed([(200, page), (200, b"x")])
    assert broken == {}
    first, second = routes_of(dump)
    assert (first["listener"], first["match"]) == (8080, "/v1  x: y")
    assert first["clusters"] == CLUSTERS
    assert second["action"] == "answers 500"
    host = {
        "address": {"socket_address": {"address": "127.0.0.2", "port_value": 1}},
        "stats": [{"name": "rq_total", "value": "7"}],
        "health_status": {"failed_outlier_check": True},
    }
    found = clusters({"cluster_statuses": [{"name": "c", "host_statuses": [host]}]})
    assert found[0]["endpoints"] == [
        {"address": "127.0.0.2:1", "health": "failed_outlier_check", "requests": 7, "errors": 0}
    ]
