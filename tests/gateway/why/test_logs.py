"""Logs that are written while they are read."""

from __future__ import annotations

from pathlib import Path

from gateway.why import logs
from gateway.why.logs import newest_lines
from gateway.why.names import common_prefix, short_names


def test_newest_lines_come_first_and_from_the_file_before_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.with_name("log.1").write_bytes(b"1\n2\n")
    path.write_bytes(b"3\n4\nhalf")
    assert list(newest_lines(path)) == [b"4", b"3", b"2", b"1"]
    path.with_name("log.1").unlink()
    lines = [b"%d" % n * 7 for n in range(5000)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    piece, logs.PIECE = logs.PIECE, 100
    try:
        assert list(newest_lines(path)) == lines[::-1]
    finally:
        logs.PIECE = piece


def test_names_lose_what_they_share() -> None:
    pods = ["inference-model-server-kf2kzzrd57-58wcr", "inference-model-server-kf2kzzrd57-jk6xb"]
    assert common_prefix(pods) == "inference-model-server-kf2kzzrd57-"
    assert list(short_names(pods).values()) == ["...58wcr", "...jk6xb"]
    assert short_names(pods[:1]) == {pods[0]: pods[0]}
    assert short_names(["vllm-0", "vllm-1"]) == {"vllm-0": "vllm-0", "vllm-1": "vllm-1"}
