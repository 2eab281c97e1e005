"""What one request did: the record, and the JSONL files that hold records.

Times are float seconds after the run's t0 on the monotonic clock, `None` where the moment never came.
The first line of a records file is a header (`RecordsHeader`) that gives t0 on the wall clock; each
further line is one `Record`. Lines reach the kernel in batches a fraction of a second apart, so a
killed run keeps what it had; a torn last line is skipped, a broken line anywhere else is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from loadgen.errors import RecordError
from loadgen.numbers.jsonl import JsonlWriter, read_lines

RECORDS_VERSION = 1
# The header in which each request carries `RUN/ID`: the run's token and the record's id. Gateways give
# requests an `x-request-id` of their own and pass this one on, so their logs can be joined.
CLIENT_ID = "x-client-request-id"
TRACEPARENT = "traceparent"


def traceparent(run: str, identity: str) -> str:
    """The W3C trace context of a request (`--traceparent`): its trace's id follows from run and record."""
    digest = hashlib.sha256(f"{run}/{identity}".encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"


class Attempt(msgspec.Struct, kw_only=True):
    """One try at a request; listed only when a retry policy made more than one."""

    start: float
    connected: float | None = None
    first_byte: float | None = None
    end: float | None = None
    outcome: str = ""
    status: int | None = None
    error: str | None = None
    pod: str | None = None
    retry_after: float | None = None


class Odd(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """What is wrong with an answer that counts for its request."""

    uncounted: bool = False
    """The server gave no usage; output_tokens is the number of events with text."""
    whole: bool = False
    """It came as one JSON body where a stream was asked for."""
    silent: bool = False
    """A stream that ended well without any event that stood for a token."""
    unread: int = 0
    """Events that were no JSON of the API."""


class Record(msgspec.Struct, kw_only=True):
    """One intended request: what it was, when things happened to it, how it ended.

    `start` is when the first attempt was handed to the socket layer; latency of a retried request
    therefore holds its waits. `connected` to `end` belong to the last attempt. `turn` counts from 0. A closed
    loop that outlasts its plan sends requests again, as `id#2`, `id#3` and so on.
    """

    id: str
    cls: str = msgspec.field(name="class")
    stage: int = 0
    intended: float
    start: float | None = None
    connected: float | None = None
    sent: float | None = None
    """When the kernel had taken the whole request; None when it took it at `connected`."""
    first_byte: float | None = None
    opening: float | None = None
    """When generating began, where the first token had no event or one that carried nothing: with a chat
    stream's role, or while a stop string was held back."""
    first_token: float | None = None
    """The first event that carried anything: content, thoughts, a tool's name or arguments."""
    first_content: float | None = None
    """The first event that carried some of the answer itself."""
    last_token: float | None = None
    end: float | None = None
    outcome: str = "missed"
    status: int | None = None
    error: str | None = None
    model: str = ""
    adapter: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    max_tokens: int | None = None
    pod: str | None = None
    port: str | None = None
    namespace: str | None = None
    answer_id: str | None = None
    """What the server called its answer; vLLM makes it of the request id that reached it."""
    headers: dict[str, str] = {}
    group: str | None = None
    session: str | None = None
    turn: int | None = None
    worker: int = 0
    attempt: int = 1
    attempts: list[Attempt] = []
    chunk_times: list[float] | None = None
    """Moments of the events that stand for tokens; fewer than tokens where one event carried several."""
    reused: bool = False
    odd: Odd | None = None
    """What figures of this answer lack; None where nothing does."""
    resent: bool = False
    """Written twice: the kept connection had been closed by the server as the request was on its way."""
    bytes_in: int = 0
    bytes_out: int = 0


class RecordsHeader(msgspec.Struct, kw_only=True):
    """First line of a records file."""

    records: int = RECORDS_VERSION
    t0: float = 0.0
    t0_monotonic: float = 0.0
    worker: int = 0
    workers: int = 1


def record_files(run_dir: Path) -> list[Path]:
    """The records files of a run directory, workers in order; RecordError when there are none."""
    files = [run_dir / "records.jsonl"] if (run_dir / "records.jsonl").is_file() else []
    numbered = [path for path in run_dir.glob("records-*.jsonl") if path.stem[8:].isdigit()]
    files += sorted(numbered, key=lambda path: int(path.stem[8:]))
    if not files:
        raise RecordError(f"{run_dir} holds no records.jsonl: not the directory of a run")
    return files


def read_header(path: Path) -> RecordsHeader:
    """The header line of a records file; RecordError when it has none."""
    for header in read_lines(path, RecordsHeader):
        return header
    raise RecordError(f"{path}: empty, not even a header line")


def write_records(path: Path, header: RecordsHeader, records: Iterable[Record]) -> None:
    """A whole records file at once (merging, tests)."""
    path.unlink(missing_ok=True)
    writer = JsonlWriter(path)
    try:
        writer.write(header)
        for record in records:
            writer.write(record)
    finally:
        writer.close()
