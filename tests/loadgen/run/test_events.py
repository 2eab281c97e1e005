"""Around a run: readiness of the target, events of the timeline, marks by hand, listings of pods."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from loadgen.client.connection import Pool
from loadgen.client.fetch import Fetched, fetch
from loadgen.client.target import parse_target
from loadgen.errors import RecordError, TargetError
from loadgen.records.rundir import EventLine, Meta, read_events, write_meta
from loadgen.run.fleetlist import parse_fleet
from loadgen.run.probe import Readiness, wait_ready
from loadgen.run.selftest import SIZES, cache_file, client_ceiling, nearest_size
from loadgen.run.timeline import OUTPUT_LIMIT, Timeline, mark
from loadgen.scenario.scenario import Event
from tests.loadgen.fakes import FakeServer, Reply, Script, Seen, answer_models, plain
from tests.ports import free_port

# --- readiness -----------------------------------------------------------------------------------


def ready(
    script: Script, models: set[str], timeout: float = 0.0, **headers: str
) -> tuple[Readiness, list[Seen]]:
    async def main() -> tuple[Readiness, list[Seen]]:
        async with FakeServer(script) as server:
            return await wait_ready(parse_target(server.url), models, timeout, headers), server.seen

    return asyncio.run(main())


def says(status: int, body: object) -> Script:
    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(plain(status, body))

    return script


def test_a_target_that_knows_its_models() -> None:
    async def script(_: Seen, reply: Reply) -> None:
        await answer_models(reply, "a", "b")

    found, seen = ready(script, {"a"}, authorization="Bearer k")
    assert (found.models, found.note) == (["a", "b"], None)
    assert (seen[0].method, seen[0].path, seen[0].headers["authorization"]) == (
        "GET",
        "/v1/models",
        "Bearer k",
    )


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, {"data": [{"id": "a"}]}, "does not serve b, c; it lists a"),
        (401, {}, "answers 401 to /v1/models: give the class `headers: {authorization: Bearer ...}`"),
        (403, "no", "answers 403 to /v1/models: give the class `headers: {authorization: Bearer ...}`"),
        (503, "starting", "is not ready after 0 s: /v1/models answers 503: starting"),
        (500, "", "is not ready after 0 s: /v1/models answers 500: no words"),
    ],
)
def test_targets_that_will_not_do(status: int, body: object, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        ready(says(status, body), {"b", "c"})
    assert message in str(caught.value)
    assert str(caught.value).startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("status", "body"), [(404, "not found"), (200, {"models": []}), (200, "x"), (200, [])]
)
def test_a_target_without_a_list_is_taken_with_a_note(status: int, body: object) -> None:
    found, _ = ready(says(status, body), {"a"})
    assert found.models is None
    assert found.note == f"/v1/models answers {status} without a list: model names are not checked"


def test_a_target_is_waited_for() -> None:
    count = 0

    async def script(_: Seen, reply: Reply) -> None:
        nonlocal count
        count += 1
        if count < 3:
            await reply.send(plain(503, "starting"))
        else:
            await answer_models(reply, "a")

    found, seen = ready(script, {"a"}, 20.0)
    assert found.models == ["a"]
    assert len(seen) == 3
    assert found.waited > 0.1


def test_nobody_there_and_somebody_else_there() -> None:
    with pytest.raises(
        TargetError, match=r"cannot be reached, tried for 0 s: Connection refused at 127\.0\.0\.1:"
    ):
        asyncio.run(wait_ready(parse_target(f"http://127.0.0.1:{free_port()}"), [], 0.0))

    async def cuts(_: Seen, reply: Reply) -> None:
        reply.cut()

    with pytest.raises(TargetError, match="the server closed the connection at"):
        ready(cuts, set())


# --- single requests -----------------------------------------------------------------------------


def test_a_call_is_sent_as_it_is_and_its_answer_kept_whatever_it_is() -> None:
    async def main() -> tuple[Fetched, Seen]:
        async with FakeServer(says(404, "nothing here")) as server:
            target = parse_target(server.url + "/base/")
            pool = Pool(asyncio.get_running_loop(), target)
            try:
                answer = await fetch(pool, "/x?y=1", method="PUT", body=b"{}", headers={"accept": "a/b"})
            finally:
                pool.close()
            return answer, server.seen[0]

    answer, seen = asyncio.run(main())
    assert (answer.outcome, answer.status, answer.body, answer.error) == ("ok", 404, b"nothing here", None)
    assert (seen.method, seen.path, seen.body) == ("PUT", "/base/x?y=1", b"{}")
    assert (seen.headers["accept"], seen.headers["user-agent"]) == ("a/b", "loadgen")


def test_a_call_that_nobody_takes_is_an_outcome_and_no_exception() -> None:
    async def main() -> Fetched:
        target = parse_target(f"http://127.0.0.1:{free_port()}")
        pool = Pool(asyncio.get_running_loop(), target)
        try:
            return await fetch(pool, "/")
        finally:
            pool.close()

    answer = asyncio.run(main())
    assert (answer.outcome, answer.status, answer.body) == ("connect_error", 0, b"")
    assert "Connection refused" in (answer.error or "")


# --- the timeline --------------------------------------------------------------------------------


def happened(
    tmp_path: Path, *events: Event, env: dict[str, str] | None = None,
    after: Callable[[], Awaitable[None]] | None = None,
) -> tuple[list[EventLine], list[str]]:  # fmt: skip
    """The lines and failures of a timeline done at once."""

    async def main() -> list[str]:
        timeline = Timeline(events, tmp_path, env or {}, after)
        try:
            await asyncio.wait_for(timeline.run(time.monotonic()), 30)
        finally:
            timeline.close()
        return timeline.failures

    failures = asyncio.run(main())
    return read_events(tmp_path), failures


def test_commands_and_what_they_said(tmp_path: Path) -> None:
    command = "echo $GREETING; echo $LOADGEN_RUN_DIR >&2"
    (line,), failures = happened(tmp_path, Event(0.0, "greet", run=command), env={"GREETING": "hi"})
    assert (line.name, line.source, line.did, line.exit) == ("greet", "timeline", command, 0)
    assert line.output == f"hi\n{tmp_path.resolve()}"
    assert line.t >= 0
    assert line.took is not None
    assert failures == []


def test_only_the_end_of_long_words_is_kept(tmp_path: Path) -> None:
    (line,), _ = happened(tmp_path, Event(0.0, "e", run="head -c 9000 /dev/zero | tr '\\0' x; echo end"))
    assert line.output is not None
    assert len(line.output) == OUTPUT_LIMIT
    assert line.output.endswith("xxx\nend") or line.output.endswith("xend")


@pytest.mark.parametrize(
    ("event", "code", "failure"),
    [
        (Event(0.0, "e", run="echo no; exit 3", line=7), 3, "event 'e' (line 7) failed: no"),
        (Event(0.0, "e", run="exit 3", line=7), 3, "event 'e' (line 7) failed: 3"),
        (Event(0.0, "e", url="http://127.0.0.1:99999/", line=7), 1,
         "event 'e' (line 7) failed: target 'http://127.0.0.1:99999': the port is no number up to 65535"),
    ],
)  # fmt: skip
def test_an_event_that_fails_is_told_and_ends_nothing(
    tmp_path: Path, event: Event, code: int, failure: str
) -> None:
    lines, failures = happened(tmp_path, event, Event(0.0, "other", run="true"))
    assert {line.name: line.exit for line in lines} == {"e": code, "other": 0}
    (found,) = failures
    assert found.startswith(failure)


@pytest.mark.parametrize(("status", "code", "failed"), [(200, 0, False), (201, 0, False), (409, 409, True)])
def test_control_calls(tmp_path: Path, status: int, code: int, failed: bool) -> None:
    async def main() -> tuple[list[str], list[Seen]]:
        async with FakeServer(says(status, "done")) as server:
            event = Event(0.0, "call", url=f"{server.url}/pods/1?x=y", method="DELETE", body='{"a": 1}')
            timeline = Timeline((event,), tmp_path, {})
            await timeline.run(time.monotonic())
            timeline.close()
            return timeline.failures, server.seen

    failures, (seen,) = asyncio.run(main())
    (line,) = read_events(tmp_path)
    assert (seen.method, seen.path, seen.json) == ("DELETE", "/pods/1?x=y", {"a": 1})
    assert seen.headers["content-type"] == "application/json"
    assert (line.exit, line.output) == (code, "done")
    assert bool(failures) is failed


def test_events_are_done_in_order_of_time_and_the_fleet_is_looked_at_after_each(tmp_path: Path) -> None:
    looks: list[int] = []

    async def after() -> None:
        looks.append(1)

    events = [Event(at, f"at {at}", run="true") for at in (0.2, 0.0, 0.1)]
    lines, failures = happened(tmp_path, *events, after=after)
    assert [line.name for line in lines] == ["at 0.0", "at 0.1", "at 0.2"]
    assert all(line.t >= float(line.name[3:]) for line in lines)
    assert (len(looks), failures) == (3, [])


def test_a_slow_event_does_not_hold_up_the_next(tmp_path: Path) -> None:
    """The slow one waits for a file that the next one makes."""
    flag = tmp_path / "flag"
    slow = Event(0.0, "slow", run=f"while [ ! -e {flag} ]; do sleep 0.01; done")
    lines, failures = happened(tmp_path, slow, Event(0.05, "next", run=f"touch {flag}"))
    assert {line.name: line.exit for line in lines} == {"slow": 0, "next": 0}
    assert failures == []


# --- marks ---------------------------------------------------------------------------------------


def test_a_mark_is_put_on_the_runs_own_clock(tmp_path: Path) -> None:
    write_meta(tmp_path, Meta(host=socket.gethostname(), t0=1.0, t0_monotonic=time.monotonic() - 50.0))
    line = mark(tmp_path, "here")
    assert 50.0 <= line.t < 110.0
    assert read_events(tmp_path) == [line]
    assert line.source == "mark"


def test_a_mark_from_another_machine_goes_by_the_wall(tmp_path: Path) -> None:
    write_meta(tmp_path, Meta(host="elsewhere", t0=time.time() - 50.0, t0_monotonic=1.0))
    assert 49.0 <= mark(tmp_path, "there").t < 110.0


def test_a_mark_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is not the directory of a run"):
        mark(tmp_path, "nowhere")


# --- listings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pod", "pages"),
    [
        ({"metrics_url": "u"}, ["u"]),
        ({"metrics": "u", "url": "other"}, ["u"]),
        ({"metrics_urls": ["u", "v"], "url": "other"}, ["u", "v"]),
        ({"metrics_urls": [], "url": "u"}, ["u"]),
        ({"ip": "10.0.0.1", "port": 80}, ["10.0.0.1:80"]),
        ({"address": "[::1]", "ports": [80, 81]}, ["[::1]:80", "[::1]:81"]),
        ({"address": "h:9", "port": 80}, ["h:9"]),
    ],
)
def test_pages_of_a_pod(pod: dict[str, object], pages: list[str]) -> None:
    fleet = parse_fleet(json.dumps({"pods": [{"name": "a", **pod}]}).encode(), "x")
    names = ["a"] if len(pages) == 1 else [f"a#{rank}" for rank in range(len(pages))]
    assert [(member.name, member.metrics_url) for member in fleet.members] == list(
        zip(names, pages, strict=True)
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "gave no JSON: Input data was truncated"),
        (b"pods: []", "gave no JSON: JSON is malformed"),
        (b'{"pods": []}', "lists no pod with a name and an address (is the fleet up?)"),
        (b'{"pods": [{"name": "a"}]}', "lists no pod"),
        (b'{"pods": [{"name": "a", "address": "h"}]}', "lists no pod"),
        (b'{"pods": [{"url": "u"}]}', "lists no pod"),
        (b'{"pods": {"a": 1}}', "lists no pod"),
        (b'{"pods": ["a"]}', "lists no pod"),
        (b'{"pickers": [{"name": "e", "url": "u"}]}', "lists no pod"),
        (b'{"stacks": 5}', "lists no pod"),
        (b'{"stacks": [5]}', "lists no pod"),
        (b'"text"', "lists no pod"),
    ],
)
def test_listings_that_hold_no_pod(data: bytes, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_fleet(data, "`ps`")
    assert str(caught.value).startswith(f"scrape.fleet: `ps` {message}")


# --- the self-test's memory ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "size"), [(0, 8), (8, 8), (16, 8), (17, 32), (64, 32), (100, 128), (9999, 512)]
)
def test_the_answer_size_that_stands_for_others(tokens: float, size: int) -> None:
    assert nearest_size(tokens) == size
    assert size in SIZES


def test_a_ceiling_is_remembered_and_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from loadgen.records.rundir import Ceiling
    from loadgen.run import selftest

    measured: list[int] = []

    async def measure(tokens: int, *, stream: bool = True, seconds: float = 0.0) -> Ceiling:
        measured.append(tokens)
        return Ceiling(rate=1000.0, cpu=0.001, tokens=tokens)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(selftest, "measure", measure)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)

    def ceiling(tokens: float, **more: object) -> Ceiling:
        options = {"stream": True, "processes": 2, "asked": 500.0, **more}
        return asyncio.run(client_ceiling(tokens, **options))  # type: ignore[arg-type]

    first, again = ceiling(10), ceiling(12)
    assert (first.total, first.share, first.cached) == (2000.0, 0.25, False)
    assert (again.total, again.cached, measured) == (2000.0, True, [8])
    assert ceiling(10, processes=16).total == 4000.0  # no more workers than cores
    assert ceiling(10, asked=None).share is None
    ceiling(10, stream=False)
    ceiling(100)
    ceiling(10, fresh=True)
    assert measured == [8, 8, 128, 8]
    cache_file().write_text("no json")
    ceiling(10)
    assert len(measured) == 5
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 601.0)
    ceiling(10)
    assert len(measured) == 6
