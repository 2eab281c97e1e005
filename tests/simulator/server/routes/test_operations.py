"""Routes of operators: what is kept, and what is refused as a vLLM without the means refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator.server.pods import pod

DEV = {"VLLM_SERVER_DEV_MODE": "1"}


def test_the_version_of_the_weights_is_kept() -> None:
    with pod(env=DEV) as one:
        assert one.get("/weight_info").json() == {"weight_version": "default"}
        before = one.post("/weight_checker", {"action": "checksum"}).json()["checksums"]
        assert one.post("/update_weight_version", {"new_version": "v2"}).json()["success"] is True
        assert one.get("/weight_info").json() == {"weight_version": "v2"}
        compared = one.post("/weight_checker", {"action": "compare", "baseline": before}).json()
        assert compared == {"match": False, "mismatches": sorted(before)}
        assert one.post("/weight_checker", {"action": "compare"}).status == 400


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/start_weight_update", None, 500), ("/init_weight_transfer_engine", {}, 400),
     ("/init_weight_transfer_engine", {"init_info": {}}, 500),
     ("/shutdown_weight_transfer_engine", None, 200),
     ("/release_kv_cache_memory", None, 500), ("/start_profile", None, 404)],
)  # fmt: skip
def test_what_is_not_set_up(path: str, body: Any, status: int) -> None:
    with pod(env=DEV) as one:
        assert one.post(path, body).status == status
    with pod() as one:
        assert one.post(path, body).status == 404


def test_memory_is_released_where_it_is_paused() -> None:
    with pod(env=DEV) as one:
        one.post("/pause", None)
        assert one.post("/release_kv_cache_memory", None).json() == {"status": "kv_cache_released"}


def test_the_number_of_engines_is_fixed() -> None:
    with pod() as one:
        assert one.post("/is_scaling_elastic_ep", None).json()["is_scaling_elastic_ep"] is False
        refused = [one.post("/scale_elastic_ep", body) for body in ({}, {"new_data_parallel_size": 2})]
        assert [answer.status for answer in refused] == [400, 500]
    with pod("--compat", "vllm-0.11") as one:
        assert one.post("/is_scaling_elastic_ep", None).status == 404


def test_parts_are_woken_one_by_one() -> None:
    with pod(env=DEV) as one:
        one.post("/sleep", None)
        first = one.post("/wake_up?tags=weights", None).json()
        assert first == {"status": "sleeping", "tags": ["weights"]}
        assert one.get("/is_sleeping").json() == {"is_sleeping": True}
        assert one.post("/wake_up?tags=kv_cache", None).json()["status"] == "awake"
        assert one.get("/is_sleeping").json() == {"is_sleeping": False}
