"""What a field of the report is: unit, meaning, which way is better, how arms are compared by it.

A report is made of Cards. A field that carries a Figure (typing.Annotated) is a figure of the report, and
that is the one place where it is told: report.json, the names of expectations, the metrics of a comparison,
the table of all figures and docs/scorecard.md follow from it, for they walk the cards with `named`. A card
inside a card needs a Figure too, to be walked; what carries none (a list for a picture, say) only stands in
report.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import numpy as np

from loadgen.numbers.quantity import Dimension

Better = Literal["lower", "higher"]
Role = Literal["judged", "shown"]  # in a comparison: `judged` decides the verdict, `shown` stands beside it


class Card(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A part of the report; a field of an unknown name is an error when one is read."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Of a field: a number, a distribution of numbers, or a card.

    meaning: the formula, as docs/scorecard.md shows it. unit: None is that of the distribution it is of.
    compared: the role in a comparison, of a distribution by statistic. matters: the smallest relative change
    (shares: difference) that is worth a verdict. name: in expectations, where it is not the field's; an
    empty one leaves the card's own name out.
    """

    meaning: str
    unit: Dimension | None = "number"
    better: Better | None = None
    label: str = ""
    compared: Role | Mapping[str, Role] | None = None
    matters: float = 0.02
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A figure under the name that expectations call it by.

    fields: the way to it from the card that was walked. keyed: a figure for each name in the run (a pod, a
    metric), `path[name]`. rank: its place among the compared statistics of one distribution.
    """

    path: str
    figure: Figure
    unit: Dimension
    fields: tuple[str, ...]
    label: str
    role: Role | None = None
    keyed: bool = False
    rank: int = 0
    holder: str = ""
    """What the distribution means of which it is a statistic."""

    @property
    def meaning(self) -> str:
        return f"{self.holder}: {self.figure.meaning}" if self.holder else self.figure.meaning

    def of(self, card: Card | None) -> Any:
        """The value in `card`; None where the card that holds it is missing."""
        here: Any = card
        for name in self.fields:
            if here is None:
                return None
            here = getattr(here, name)
        return here


@cache
def named(kind: type[Card]) -> Mapping[str, Named]:
    """Every figure of a kind of card by its path, in the order of the fields."""
    return {found.path: found for found in _walk(kind, "", (), None)}


_OUTERMOST = Figure("")


def _walk(kind: type[Card], prefix: str, fields: tuple[str, ...], around: Figure | None) -> Iterator[Named]:
    holder = around or _OUTERMOST
    for name, hint in get_type_hints(kind, include_extras=True).items():
        figure = _figure(hint)
        if figure is None:
            continue
        path = ".".join(filter(None, (prefix, name if figure.name is None else figure.name)))
        unit = holder.unit if figure.unit is None else figure.unit
        inner = _card(hint.__origin__)
        if inner is not None:
            yield from _walk(inner, path, (*fields, name), replace(figure, unit=unit))
            continue
        keyed = get_origin(hint.__origin__) is dict
        of = replace(figure, unit=unit)
        yield _leaf(of, holder, path, (*fields, name), keyed=keyed, statistic=figure.unit is None)


def _figure(hint: Any) -> Figure | None:
    """What an annotation says of a figure, if it does."""
    return next((item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Figure)), None)


def _leaf(
    figure: Figure, holder: Figure, path: str, fields: tuple[str, ...], *, keyed: bool, statistic: bool
) -> Named:
    roles = holder.compared if isinstance(holder.compared, Mapping) else {}
    name = fields[-1]
    return Named(
        path=path,
        figure=replace(figure, better=figure.better or (holder.better if statistic else None)),
        unit=figure.unit or "number",
        fields=fields,
        label=figure.label or f"{holder.label} {name}",
        role=figure.compared if isinstance(figure.compared, str) else roles.get(name),
        keyed=keyed,
        rank=list(roles).index(name) if name in roles else 0,
        holder=holder.meaning if statistic else "",
    )


def _card(kind: Any) -> type[Card] | None:
    """The card that a field holds, be it optional."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return next((item for item in options if isinstance(item, type) and issubclass(item, Card)), None)


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become None, in cards too; numpy's numbers become Python's."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            setattr(value, name, finite(getattr(value, name)))
        return value
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(finite(item) for item in value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def as_json(card: Card) -> str:
    """The text of a card's file."""
    return msgspec.json.format(msgspec.json.encode(card), indent=1).decode() + "\n"
