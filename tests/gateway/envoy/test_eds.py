"""Endpoint files: what Envoy reads in them, and that it reads each state whole."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from gateway.envoy.clusters import ClusterSpec
from gateway.envoy.eds import replace_file, write_endpoints


@pytest.mark.parametrize(
    "endpoints", [(), (("127.0.0.2", 8000),), (("127.0.0.2", 8000), ("127.0.0.3", 8001))]
)
def test_the_endpoints_of_a_cluster(tmp_path: Path, endpoints: tuple[tuple[str, int], ...]) -> None:
    spec = ClusterSpec("outbound|80||svc", tmp_path / "svc.json")
    write_endpoints(spec, endpoints, 7)
    found = json.loads(spec.eds_file.read_text())
    (assignment,) = found["resources"]
    assert (found["version_info"], assignment["cluster_name"]) == ("7", "outbound|80||svc")
    places = [
        (
            e["endpoint"]["address"]["socket_address"]["address"],
            e["endpoint"]["address"]["socket_address"]["port_value"],
        )
        for group in assignment["endpoints"]
        for e in group["lb_endpoints"]
    ]
    assert places == list(endpoints)
    assert [p.name for p in tmp_path.iterdir()] == ["svc.json"], "nothing is left beside it"


def test_readers_see_the_old_content_or_the_new(tmp_path: Path) -> None:
    file = tmp_path / "f"
    contents = ["a" * 200_000, "b" * 300_000]
    replace_file(file, contents[0])
    done = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(file.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for i in range(60):
            replace_file(file, contents[i % 2])
    finally:
        done.set()
        reader.join()
    assert seen <= set(contents)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "f"
    replace_file(file, "old")
    with pytest.raises(UnicodeEncodeError):
        replace_file(file, "\ud800")
    assert file.read_text() == "old"
