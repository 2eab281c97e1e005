"""A run read back from its directory: what must be there, what may be missing or torn, what is told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from loadgen.errors import RecordError, RunError
from loadgen.numbers.jsonl import JsonlWriter, read_lines
from loadgen.plan.build import build_plan
from loadgen.plan.plan import write_plan
from loadgen.records.records import Attempt, Record, RecordsHeader, read_header, record_files, write_records
from loadgen.records.rundata import RunData, load_run
from loadgen.records.rundir import (
    Ceiling,
    ClientTimes,
    EventLine,
    Meta,
    ScrapeLine,
    read_events,
    read_meta,
    read_optional,
    read_scrapes,
    write_meta,
)
from loadgen.records.table import PICKED_HEADER, Records, read_records
from loadgen.scenario.read import read_scenario

SCENARIO = (
    "name: r\nmodel: m\nwarmup: 1s\nclasses: {a: {arrival: {process: constant, rate: 2, duration: 2s}}}\n"
)


def run_directory(path: Path, *, pods: bool = True) -> Path:
    """A finished run of four requests, half a second apart, with everything that a run may have."""
    path.mkdir()
    (path / "scenario.yaml").write_text(SCENARIO)
    write_plan(path / "plan.jsonl", build_plan(read_scenario(SCENARIO, "r.yaml")))
    records = [
        Record(
            id=f"a-{n:06d}", cls="a", intended=n / 2, start=n / 2, end=n / 2 + 0.1, outcome="ok", pod=f"p-{n}"
        )
        for n in range(4)
    ]
    write_records(path / "records.jsonl", RecordsHeader(t0=50.0, t0_monotonic=5.0), records)
    write_meta(path, Meta(status="finished", scenario="r", t0=100.0, source="r.yaml"))
    lines(path / "events.jsonl", [EventLine(t=2.0, name="late"), EventLine(t=1.0, name="own", source="run")])
    if pods:
        names = ("p-10", "p-2")
        lines(
            path / "scrapes.jsonl",
            [ScrapeLine(t=1.0, took=0.1, name=n, url=f"http://10.0.0.1:8000/{n}") for n in names],
        )
    return path


def lines(path: Path, items: list[object] | list[EventLine] | list[ScrapeLine]) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in items))


def test_a_whole_run(tmp_path: Path) -> None:
    run = load_run(run_directory(tmp_path / "r"))
    assert (len(run.records), run.meta.status, run.t0, run.warmup, run.notes) == (
        4,
        "finished",
        100.0,
        1.0,
        [],
    )
    assert [record.intended for record in run.frame.records] == [1.0, 1.5]  # the warm-up is left out
    assert [event.name for event in run.events] == ["own", "late"]
    assert run.marks == [(2.0, "late")]  # not what the run itself did
    assert list(run.pods) == ["p-2", "p-10"]
    assert run.pod_names == ["p-0", "p-1", "p-2", "p-3", "p-10"]
    assert run.plan_header is not None
    assert run.scenario is not None
    assert run.scenario.name == "r"


def test_records_alone_are_a_run(tmp_path: Path) -> None:
    folder = run_directory(tmp_path / "r")
    for name in ("scenario.yaml", "plan.jsonl", "meta.json", "events.jsonl", "scrapes.jsonl"):
        (folder / name).unlink()
    run = load_run(folder)
    assert (run.meta.status, run.scenario, run.plan_header) == ("interrupted", None, None)
    assert (run.events, run.scrapes, run.pods) == ([], [], {})
    assert run.t0 == 50.0  # the records' own
    assert len(run.frame) == 4  # no scenario, no warm-up
    (note,) = run.notes
    assert "is not the directory of a run: No such file or directory" in note


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("meta.json", "{", "meta.json: Input data was truncated"),
        ("meta.json", '{"status": "gone"}', "meta.json: Invalid enum value 'gone'"),
        ("events.jsonl", "x\n{}\n", "events.jsonl:1: not a EventLine line: JSON is malformed"),
        (
            "scrapes.jsonl",
            '{"t": 1}\n',
            "scrapes.jsonl:1: not a ScrapeLine line: Object missing required field",
        ),
        ("plan.jsonl", "x\n", "plan.jsonl:1: is not a plan of `loadgen plan`"),
        ("scenario.yaml", "name: [", "r.yaml:1: not YAML"),
        ("scenario.yaml", "name: r\nnaem: 1\n", "r.yaml:1: needs `classes:`"),
    ],
)
def test_a_file_that_is_unusable_is_a_note(tmp_path: Path, name: str, content: str, note: str) -> None:
    folder = run_directory(tmp_path / "r")
    (folder / name).write_text(content)
    run = load_run(folder)
    assert len(run.records) == 4
    (found,) = run.notes
    assert note in found


def test_the_plan_carries_the_scenario_where_its_file_is_gone(tmp_path: Path) -> None:
    folder = run_directory(tmp_path / "r")
    (folder / "scenario.yaml").unlink()
    assert (run := load_run(folder)).scenario is not None
    assert run.scenario.name == "r"
    (folder / "scenario.yaml").write_text(" \n")
    assert load_run(folder).scenario is None


def test_a_given_scenario_wins(tmp_path: Path) -> None:
    other = read_scenario(SCENARIO.replace("warmup: 1s", "warmup: 0"), "other.yaml")
    run = load_run(run_directory(tmp_path / "r"), other)
    assert run.scenario is other
    assert len(run.frame) == 4


def told_by_counters(**roles: str) -> RunData:
    """Two pods that answered, and one that finished 5 requests of a token each, answering none."""
    records = [
        Record(id=str(n), cls="a", intended=n, start=n, end=n + 0.1, outcome="ok", pod=f"d-{n % 2}")
        for n in range(4)
    ]
    run = RunData(Path(), Records.of(records), RecordsHeader(), Meta(roles=roles))
    for name, served, tokens in (("d-0", 2, 20), ("d-1", 2, 20), ("p-0", 5, 5), ("idle", 0, 0)):
        run.scrapes += [
            ScrapeLine(
                t=t, took=0.01, name=name, url=f"http://{name}:80/metrics", pod=name, phase=phase,
                samples={
                    "vllm:request_success_total": t * served, "vllm:generation_tokens_total": t * tokens,
                    "vllm:prompt_tokens_total": 7.0 * t * served,
                },
            )
            for t, phase in ((0.0, "before"), (1.0, "after"))
        ]  # fmt: skip
    return run


def test_pods_that_only_prefill_are_known_by_their_counters() -> None:
    run = told_by_counters()
    assert run.roles == {"d-0": "decode", "d-1": "decode", "p-0": "prefill"}
    assert run.answerers == ["d-0", "d-1", "idle"]  # who serves nothing at all may be uneven


def test_what_the_listing_tells_of_roles_holds() -> None:
    run = told_by_counters(**{"p-0": "prefill", "idle": "prefill", "d-0": "both"})
    assert run.roles == {"d-0": "both", "d-1": "decode", "idle": "prefill", "p-0": "prefill"}
    assert run.answerers == ["d-0", "d-1"]


# --- the files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "records.jsonl: empty, not even a header line"),
        (b"\n", "records.jsonl: empty, not even a header line"),
        (b"[]\n", "records.jsonl:1: not a RecordsHeader line: Expected `object`, got `array`"),
        (
            b'{"t0": "now"}\n',
            "records.jsonl:1: not a RecordsHeader line: Expected `float`, got `str` - at `$.t0`",
        ),
    ],
)
def test_headers_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "records.jsonl").write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_header(tmp_path / "records.jsonl")
    assert str(caught.value) == f"{tmp_path}/{message}"


def test_the_files_of_records_in_the_order_of_workers(tmp_path: Path) -> None:
    for name in ("records-10.jsonl", "records-2.jsonl", "records.jsonl", "records-x.jsonl", "records-1.json"):
        (tmp_path / name).touch()
    assert [path.name for path in record_files(tmp_path)] == [
        "records.jsonl", "records-2.jsonl", "records-10.jsonl",
    ]  # fmt: skip


def test_no_records(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        record_files(tmp_path)
    assert str(caught.value) == f"{tmp_path} holds no records.jsonl: not the directory of a run"


def test_records_are_in_order_of_intention_and_ties_of_their_ids(tmp_path: Path) -> None:
    times = [("c", 1.0), ("b", 0.5), ("a", 1.0), ("d", 0.0)]
    write_records(
        tmp_path / "records.jsonl", RecordsHeader(), [Record(id=i, cls="x", intended=t) for i, t in times]
    )
    assert [record.id for record in read_records(tmp_path)] == ["d", "b", "a", "c"]


def test_every_field_of_a_record_comes_back(tmp_path: Path) -> None:
    whole = Record(
        id="i", cls="c", stage=2, intended=0.1, start=0.2, connected=0.3, sent=0.4, first_byte=0.5,
        first_token=0.6, last_token=0.7, end=0.8, outcome="ok", status=200, error="e", model="m", adapter="a",
        prompt_tokens=1, cached_tokens=2, output_tokens=3, max_tokens=4, pod="p", port="8000", namespace="n",
        headers={PICKED_HEADER: "v"}, group="g", session="s", turn=1, worker=3, attempt=2,
        attempts=[Attempt(start=0.0, connected=0.1, first_byte=0.2, end=0.3, outcome="reset", status=500,
                          error="x", pod="q", retry_after=1.5)],
        chunk_times=[0.6, 0.7], reused=True, resent=True, bytes_in=5, bytes_out=6,
    )  # fmt: skip
    write_records(tmp_path / "records.jsonl", RecordsHeader(), [whole])
    assert list(read_records(tmp_path)) == [whole]


def test_lines_from_a_later_one_on(tmp_path: Path) -> None:
    lines(tmp_path / "x.jsonl", [EventLine(t=float(n), name=str(n)) for n in range(4)])
    assert [line.name for line in read_lines(tmp_path / "x.jsonl", EventLine, first=3)] == ["2", "3"]


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_torn_end_at_any_byte_is_left_out(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.jsonl"
    lines(path, [EventLine(t=1.0, name="one"), EventLine(t=2.0, name="two")])
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    # the newline alone may be missing: the line is whole
    assert len(list(read_lines(path, EventLine))) == (2 if cut == 1 else 1)


def test_writers_append_and_say_what_they_cannot(tmp_path: Path) -> None:
    for number in range(2):
        writer = JsonlWriter(tmp_path / "x.jsonl")
        writer.write({"n": number})
        writer.close()
        writer.close()  # twice is once
    assert (tmp_path / "x.jsonl").read_bytes() == b'{"n":0}\n{"n":1}\n'
    with pytest.raises(RunError) as caught:
        JsonlWriter(tmp_path / "no" / "x.jsonl")
    assert str(caught.value) == f"cannot write {tmp_path}/no/x.jsonl: No such file or directory"


def test_meta_and_what_hangs_on_it(tmp_path: Path) -> None:
    meta = Meta(
        status="failed", error="why", scenario="s", seed=3, slice=(1, 4), planned=9, models=["m"],
        ceiling=Ceiling(rate=10.0, cpu=0.1, total=20.0, asked=5.0, share=0.25),
        client=ClientTimes(late_p50=0.1, cpu=2.0), first_errors={"reset": "r"}, warnings=["w"],
    )  # fmt: skip
    write_meta(tmp_path, meta)
    assert read_meta(tmp_path) == meta
    assert (tmp_path / "meta.json").read_bytes().startswith(b'{\n  "status": "failed"')


def test_meta_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*meta\.json: No such file or directory"):
        write_meta(tmp_path / "no", Meta())
    (tmp_path / "meta.json").mkdir()
    with pytest.raises(RunError, match=r"cannot write .*meta\.json: Is a directory"):
        write_meta(tmp_path, Meta())
    assert [path.name for path in tmp_path.iterdir()] == ["meta.json"]  # no half of it is left


def test_optional_files(tmp_path: Path) -> None:
    assert read_optional(tmp_path / "none.jsonl", EventLine) == []
    assert read_scrapes(tmp_path) == []
    assert read_events(tmp_path) == []
    lines(
        tmp_path / "scrapes.jsonl", [ScrapeLine(t=t, took=0.0, name="p", url="u") for t in (2.0, -1.0, 0.5)]
    )
    assert [line.t for line in read_scrapes(tmp_path)] == [-1.0, 0.5, 2.0]
