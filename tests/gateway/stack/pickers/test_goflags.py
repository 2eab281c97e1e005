from __future__ import annotations

from gateway.stack.pickers import goflags


def test_split_and_join() -> None:
    flags = goflags.split(
        [
            "--pool-name",
            "p",
            "-v",
            "4",
            "--config-file=/x",
            "--secure-serving=false",
            "--tracing",
            "--n",
            "-1",
        ]
    )
    assert flags == [
        ("pool-name", "p"),
        ("v", "4"),
        ("config-file", "/x"),
        ("secure-serving", "false"),
        ("tracing", None),
        ("n", "-1"),
    ]
    assert goflags.join(flags)[3:5] == ["--secure-serving=false", "--tracing"]


def test_values() -> None:
    flags = goflags.split(["--a", "1", "--a", "2", "--tracing", "stray"])
    assert (goflags.value_of(flags, "a"), goflags.value_of(flags, "tracing")) == ("2", "true")
    assert goflags.value_of(flags, "b") is None
    assert goflags.without(flags, {"a"}) == [("tracing", None)]
    assert [goflags.is_true(v, default=True) for v in (None, "true", "T", "0", "false")] == [
        True, True, True, False, False
    ]  # fmt: skip
