"""All records of a run as columns: what a report needs of a million requests, in half a gigabyte.

A `Record` costs some two kilobytes as an object, most of it in its strings and its list of chunk times; here
it is a row of arrays. Texts that many records share are kept once, each column's values by number. Rows are
made into `Record`s one at a time, for whoever iterates; figures come from the columns.

Of the headers only READ_HEADERS are kept: what else an answer said is in the file, and in no report.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import isnan
from operator import attrgetter
from pathlib import Path
from typing import Any, cast, get_type_hints, overload

import numpy as np
from numpy.typing import NDArray

from loadgen.numbers.jsonl import read_lines
from loadgen.numbers.stats import Floats, Ints
from loadgen.records.records import Attempt, Odd, Record, record_files

Labels = NDArray[np.object_]
Mask = NDArray[np.bool_]

# Headers in which a gateway says the address that answered.
SERVED_HEADERS = ("x-gateway-destination-endpoint-served", "x-conformance-test-served-endpoint")
PICKED_HEADER = "x-gateway-destination-endpoint"
DROPPED_HEADERS = ("x-llm-d-request-dropped-reason", "x-gateway-request-dropped-reason")
REQUEST_ID_HEADER = "x-request-id"
READ_HEADERS = frozenset({*SERVED_HEADERS, PICKED_HEADER, *DROPPED_HEADERS, REQUEST_ID_HEADER})


def _fields(kind: object) -> tuple[str, ...]:
    return tuple(name for name, given in get_type_hints(Record).items() if given == kind and name != "id")


MOMENTS = (*_fields(float), *_fields(float | None))
COUNTS = _fields(int | None)  # whole numbers that may be None: floats here, which have a NaN
NUMBERS = _fields(int)
FLAGS = _fields(bool)
TEXTS = (*_fields(str), *_fields(str | None))
REPEATED = (*TEXTS, *_fields(Odd | None))  # values that many records share: each is kept once
BATCH = 4096


class Coded:
    """A column of values that repeat: `codes` says for each row which of `names` it has (None is one)."""

    def __init__(self, codes: NDArray[np.int32], names: list[Any]) -> None:
        self.codes = codes
        self.names: Labels = np.array(names, dtype=object)

    def labels(self, rows: Ints | slice) -> Labels:
        """The text of each row."""
        return self.names[self.codes[rows]]

    def among(self, wanted: Iterable[object], rows: Ints | slice) -> Mask:
        """Which rows have one of the wanted texts."""
        there = set(wanted)
        return np.array([name in there for name in self.names], dtype=np.bool_)[self.codes[rows]]


class Columns:
    """The columns whole, in the order in which records were added; `Records` are rows of it."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._floats = {name: array("d") for name in (*MOMENTS, *COUNTS)}
        self._ints = {name: array("q") for name in NUMBERS} | {name: array("b") for name in FLAGS}
        self._codes = {name: array("i") for name in REPEATED}
        self._known: dict[str, dict[Any, int]] = {name: {} for name in REPEATED}
        self._chunk_counts = array("q")
        self._chunks = array("d")
        self.attempts: dict[int, list[Attempt]] = {}
        self._held: dict[str, NDArray[Any]] = {}
        self._coded: dict[str, Coded] = {}

    def add(self, records: Iterable[Record]) -> None:
        """Append records, a batch at a time."""
        source = iter(records)
        while batch := list(islice(source, BATCH)):
            self._add(batch)

    def _add(self, batch: Sequence[Record]) -> None:
        base = len(self.ids)
        self.ids += [record.id for record in batch]
        for name, floats in self._floats.items():
            floats.extend([np.nan if value is None else value for value in map(attrgetter(name), batch)])
        for name, ints in self._ints.items():
            ints.extend(map(attrgetter(name), batch))
        for name in REPEATED:
            self._encode(name, map(attrgetter(name), batch), base)
        seen = {key for record in batch for key in record.headers}
        for header in READ_HEADERS & {*seen, *(self._known.keys() - set(REPEATED))}:
            self._encode(header, [record.headers.get(header) for record in batch], base)
        for row, record in enumerate(batch, start=base):
            times = record.chunk_times
            self._chunk_counts.append(-1 if times is None else len(times))
            if times:
                self._chunks.extend(times)
            if record.attempts:
                self.attempts[row] = record.attempts

    def _encode(self, name: str, values: Iterable[object], base: int) -> None:
        if name not in self._codes:  # a header that no record had so far
            self._known[name], self._codes[name] = {None: 0}, array("i", bytes(4 * base))
        known = self._known[name]
        self._codes[name].extend([known.setdefault(value, len(known)) for value in values])

    def close(self, *, ordered: bool = False) -> None:
        """No more is added: the columns become arrays; `ordered` by intended start (ties: by id)."""
        columns: dict[str, array[Any]] = {**self._floats, **self._ints}
        self._held = {name: _compact(np.frombuffer(each, each.typecode)) for name, each in columns.items()}
        columns.clear()
        counts = self._held["chunk_count"] = np.frombuffer(self._chunk_counts, dtype=np.int64)
        self._held["chunk_start"] = np.cumsum(np.maximum(counts, 0)) - np.maximum(counts, 0)
        self.chunks: Floats = np.frombuffer(self._chunks, dtype=np.float64)
        codes = {name: _compact(np.frombuffer(each, np.int32)) for name, each in self._codes.items()}
        for source in (self._floats, self._ints, self._codes):
            source.clear()  # what is put in order below need not be there twice
        if ordered:
            order = self._order()
            for table in (self._held, codes):
                for name in table:
                    if table[name].strides != (0,):
                        table[name] = table[name][order]
            self.ids = [self.ids[row] for row in order.tolist()]
            places = np.argsort(order)
            self.attempts = {int(places[row]): tries for row, tries in self.attempts.items()}
        self._coded = {name: Coded(column, list(self._known[name])) for name, column in codes.items()}
        self._known.clear()

    def _order(self) -> Ints:
        intended = self._held["intended"]
        order = np.argsort(intended, kind="stable")
        ranked = intended[order]
        fresh = np.flatnonzero(np.diff(ranked, prepend=np.nan, append=np.nan) != 0)
        shared = np.diff(fresh) > 1
        for low, high in zip(fresh[:-1][shared].tolist(), fresh[1:][shared].tolist(), strict=True):
            order[low:high] = sorted(order[low:high].tolist(), key=self.ids.__getitem__)
        return order

    def numbers(self, name: str) -> NDArray[Any]:
        """A column of numbers; NaN for None."""
        return self._held[name]

    def coded(self, name: str) -> Coded:
        """A column of texts, or of a header; a header that nobody had is None throughout."""
        if name not in self._coded and name in READ_HEADERS:
            self._coded[name] = Coded(np.zeros(len(self.ids), dtype=np.int32), [None])
        return self._coded[name]


def _compact(column: NDArray[Any]) -> NDArray[Any]:
    """The same column; one that has a single value throughout, or NaN, takes no room."""
    if not column.size or ((column != column[0]).any() and not np.isnan(column).all()):
        return column
    return np.broadcast_to(column[0].copy(), column.shape)


class Records(Sequence[Record]):
    """Rows of `Columns`, in an order of their own; each Record is made when it is asked for."""

    def __init__(self, columns: Columns, rows: Ints | None = None) -> None:
        self._columns = columns
        self._rows = rows

    @classmethod
    def of(cls, records: Iterable[Record]) -> Records:
        """Records as columns, in their own order; what has columns already stays as it is."""
        if isinstance(records, Records):
            return records
        columns = Columns()
        columns.add(records)
        columns.close()
        return cls(columns)

    def __len__(self) -> int:
        return len(self._columns.ids) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return next(iter(self.take(np.arange(len(self))[[index]])))

    def __iter__(self) -> Iterator[Record]:
        for low in range(0, len(self), BATCH):
            yield from self._made(self._positions()[low : low + BATCH])

    def _positions(self) -> Ints:
        return np.arange(len(self)) if self._rows is None else self._rows

    @property
    def _where(self) -> Ints | slice:
        return slice(None) if self._rows is None else self._rows

    def _made(self, rows: Ints) -> Iterator[Record]:
        columns = self._columns
        values: dict[str, Iterable[object]] = {
            name: [None if isnan(value) else value for value in columns.numbers(name)[rows].tolist()]
            for name in MOMENTS
        }
        for name in COUNTS:
            numbers = columns.numbers(name)[rows].tolist()
            values[name] = [None if isnan(value) else int(value) for value in numbers]
        values |= {name: columns.numbers(name)[rows].tolist() for name in NUMBERS}
        values |= {name: columns.numbers(name)[rows].astype(bool).tolist() for name in FLAGS}
        values |= {name: columns.coded(name).labels(rows).tolist() for name in REPEATED}
        values["headers"] = self._headers(rows)
        starts = columns.numbers("chunk_start")[rows].tolist()
        counts = columns.numbers("chunk_count")[rows].tolist()
        names = tuple(values)
        for row, start, count, each in zip(
            rows.tolist(), starts, counts, zip(*values.values(), strict=True), strict=True
        ):
            yield Record(
                id=columns.ids[row],
                chunk_times=columns.chunks[start : start + count].tolist() if count >= 0 else None,
                attempts=columns.attempts.get(row, []),
                **cast(Mapping[str, Any], dict(zip(names, each, strict=True))),
            )

    def _headers(self, rows: Ints) -> list[dict[str, str]]:
        out: list[dict[str, str]] = [{} for _ in range(len(rows))]
        for header in READ_HEADERS:
            labels = self._columns.coded(header).labels(rows)
            for index in np.flatnonzero(labels != None).tolist():  # noqa: E711  # each entry of the array
                out[index][header] = labels[index]
        return out

    # --- columns ----------------------------------------------------------------------------------

    @property
    def ids(self) -> list[str]:
        """The id of each record."""
        ids = self._columns.ids
        return ids if self._rows is None else [ids[row] for row in self._rows.tolist()]

    def numbers(self, name: str) -> NDArray[Any]:
        """A moment or count (float64, NaN for None), a number or a flag (int64) of each record."""
        return self._columns.numbers(name)[self._where]

    def labels(self, name: str) -> Labels:
        """A text, another of REPEATED, or one of READ_HEADERS, of each record; None where it has none."""
        return self._columns.coded(name).labels(self._where)

    def codes(self, name: str) -> tuple[NDArray[np.int32], Labels]:
        """The same as numbers, and the values that they stand for."""
        column = self._columns.coded(name)
        return column.codes[self._where], column.names

    def among(self, name: str, wanted: Iterable[object]) -> Mask:
        """Which records have one of the wanted texts."""
        return self._columns.coded(name).among(wanted, self._where)

    def distinct(self, name: str) -> set[str]:
        """The texts that any record has."""
        codes, names = self.codes(name)
        return {names[code] for code in np.unique(codes).tolist()} - {None}

    def pairs(self, first: str, second: str) -> dict[tuple[str | None, str | None], int]:
        """How often two texts stand in the same record."""
        (left, names), (right, others) = self.codes(first), self.codes(second)
        found, counts = np.unique(left.astype(np.int64) * len(others) + right, return_counts=True)
        places = (divmod(place, len(others)) for place in found.tolist())
        return {(names[a], others[b]): n for (a, b), n in zip(places, counts.tolist(), strict=True)}

    @property
    def chunks(self) -> tuple[Floats, Ints, Ints]:
        """All chunk times; where those of each record begin, and how many they are (-1: None)."""
        return self._columns.chunks, self.numbers("chunk_start"), self.numbers("chunk_count")

    def take(self, which: NDArray[np.integer[Any]] | Mask) -> Records:
        """The records at these places, or under a mask, in the order given."""
        if which.dtype == np.bool_ and which.all():
            return self
        return Records(self._columns, self._positions()[which])


def read_records(run_dir: Path) -> Records:
    """All records of a run, in order of intended start (ties: by id)."""
    columns = Columns()
    for path in record_files(run_dir):
        columns.add(read_lines(path, Record, first=2))
    columns.close(ordered=True)
    return Records(columns)
