"""What one request did: the record, and the JSONL files that hold records.

Times are float seconds after the run's t0 on the monotonic clock, `None` where the moment never came.
The first line of a records file is a header (`RecordsHeader`) that gives t0 on the wall clock; each
further line is one `Record`. Lines reach the kernel in batches a fraction of a second apart, so a
killed run keeps what it had; a torn last line is skipped, a broken line anywhere else is an error.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from loadgen.errors import RecordError, RunError

OUTCOMES: Final = (
    "ok",  # a complete 2xx answer
    "shed_429",  # rejected before it was served (429 without an eviction reason)
    "ttl_503",  # waited too long in the gateway's queue, or its client context ended there
    "evicted",  # accepted, then thrown out of the gateway's queue
    "rejected_4xx",  # any other 4xx: a bad request, an unknown model
    "upstream_5xx",  # a model server answered 5xx, or an error event in the stream
    "gateway_503",  # the gateway had no endpoint, or its picker failed
    "timeout",  # the client's own timeout, or still running when the run's grace ended
    "reset",  # the connection ended before the answer was complete
    "connect_error",  # no TCP or TLS connection
    "stream_truncated",  # a 200 whose stream ended without its end
    "client_cancel",  # cancelled by the plan after n tokens, or by the end of an interrupted run
    "missed",  # was due and could not be sent by this client
    "skipped",  # a later turn of a session that ended early: was never due
)
SHEDS: Final = frozenset({"shed_429", "ttl_503", "evicted"})
"""Outcomes that are the gateway's decision under load, to be told apart from errors."""
NOT_SENT: Final = frozenset({"missed", "skipped"})

RECORDS_VERSION: Final = 1
FLUSH_BYTES: Final = 1 << 18

T = TypeVar("T")


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
    """When a chat stream said its role, where that was with a first token that had no event of its own."""
    first_token: float | None = None
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


class JsonlWriter:
    """Appends JSON lines to a file; `flush` is one write to the kernel.

    Raises RunError when the file cannot be written (a full disk, say).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._buffer = bytearray()
        self._encoder = msgspec.json.Encoder()
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error

    def write(self, item: object) -> None:
        """Buffer one line; goes to the kernel by itself when a quarter of a megabyte has gathered."""
        self._encoder.encode_into(item, self._buffer, -1)
        self._buffer += b"\n"
        if len(self._buffer) >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything buffered to the kernel."""
        view = bytes(self._buffer)
        self._buffer.clear()
        while view:
            try:
                written = os.write(self._fd, view)
            except OSError as error:
                raise RunError(f"cannot write {self.path}: {error.strerror}") from error
            view = view[written:]

    def close(self) -> None:
        """Flush and close; the file stays readable by others throughout."""
        if self._fd >= 0:
            try:
                self.flush()
            finally:
                os.close(self._fd)
                self._fd = -1


def read_lines(path: Path, kind: type[T], first: int = 1) -> Iterator[T]:
    """Decode the lines of a JSONL file from line `first` on; a torn last line is left out."""
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number < first or line == b"\n":
                continue
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                if not line.endswith(b"\n"):
                    return
                raise RecordError(f"{path}:{number}: not a {kind.__name__} line: {error}") from error


def record_files(run_dir: Path) -> list[Path]:
    """The records files of a run directory, workers in order; RecordError when there are none."""
    files = [run_dir / "records.jsonl"] if (run_dir / "records.jsonl").is_file() else []
    numbered = [path for path in run_dir.glob("records-*.jsonl") if path.stem[8:].isdigit()]
    files += sorted(numbered, key=lambda path: int(path.stem[8:]))
    if not files:
        raise RecordError(f"{run_dir} holds no records.jsonl: not the directory of a run")
    return files


def read_header(path: Path) -> RecordsHeader:
    """The header line of a records file."""
    for header in read_lines(path, RecordsHeader):
        return header
    raise RecordError(f"{path}: empty, not even a header line")


def read_records(run_dir: Path) -> list[Record]:
    """All records of a run, in order of intended start (ties: by id)."""
    records = [record for path in record_files(run_dir) for record in read_lines(path, Record, first=2)]
    records.sort(key=lambda record: (record.intended, record.id))
    return records


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
