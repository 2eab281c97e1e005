"""What requests ask for: seeded prompts with shared beginnings, conversations, traces and presets.

A maker turns the number of an arrival into a `UnitSpec`: one request, or all turns of a session.
Shared texts are numbered as they are first used and travel with the unit that uses them first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from loadgen.plan.arrivals import stream
from loadgen.plan.bodies import Said, Text, body_pieces, token_body_pieces
from loadgen.plan.plan import Piece, escape
from loadgen.plan.traces import TraceRow, count_words
from loadgen.plan.words import ids_of, sample, sample_count, text_of
from loadgen.scenario.scenario import ClassSpec, Prefix

TEXTS_PER_CLASS = 100_000_000  # numbers of shared texts that a class has for itself


@dataclass(slots=True)
class TurnSpec:
    """One request, all but its identity."""

    body: list[Piece]
    max_tokens: int
    prompt_tokens: int
    shared_tokens: int = 0
    think: float = 0.0


@dataclass(slots=True)
class UnitSpec:
    """What one arrival brings; `texts` are shared pieces used here first, `own` those of this unit alone."""

    turns: list[TurnSpec]
    group: str | None = None
    texts: list[tuple[int, str]] = field(default_factory=list)
    own: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class Dialogue:
    """What a conversation is made of, turn by turn, behind its shared beginning."""

    beginning: list[Text]
    group: str | None
    questions: list[str] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    thinks: list[float] = field(default_factory=list)

    def add(self, question: str, output: int, think: float) -> None:
        self.questions.append(question)
        self.outputs.append(output)
        self.thinks.append(think)


class Texts:
    """Numbers for texts that several requests hold; `fresh` gathers those not yet handed out."""

    def __init__(self, class_index: int) -> None:
        self._next = class_index * TEXTS_PER_CLASS
        self._numbers: dict[object, int] = {}
        self.fresh: list[tuple[int, str]] = []

    def shared(self, key: object, make: Callable[[], str]) -> int:
        """The number of the text under `key`, made (already escaped) at its first use."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self.number()
            self.fresh.append((number, make()))
        return number

    def number(self) -> int:
        """A number nobody has."""
        self._next += 1
        return self._next - 1

    def take_fresh(self) -> list[tuple[int, str]]:
        """Texts first used since the last call."""
        fresh, self.fresh = self.fresh, []
        return fresh


def group_weights(prefix: Prefix) -> np.ndarray:
    """Share of each prefix group."""
    if prefix.hot is not None:
        if prefix.groups == 1:
            return np.ones(1)
        others = (1.0 - prefix.hot) / (prefix.groups - 1)
        return np.array([prefix.hot] + [others] * (prefix.groups - 1))
    weights = (np.arange(prefix.groups) + 1.0) ** -prefix.zipf
    return np.asarray(weights / weights.sum())


class Maker:
    """Prompts of one class. Subclass-free: the class's settings decide what a unit is made of."""

    def __init__(self, spec: ClassSpec, index: int, seed: int, rows: Sequence[TraceRow] = ()) -> None:
        self.spec = spec
        self.seed = seed
        self.rng = stream(seed, spec.name, "prompts")
        self.texts = Texts(index)
        self._rows = rows
        prefix = spec.workload.prefix
        self._edges = np.cumsum(group_weights(prefix)) if prefix is not None else None
        weights = np.array([share.weight for share in spec.models])
        self._model_edges = np.cumsum(weights / weights.sum())

    def pick_model(self) -> tuple[str, str | None]:
        """A model name by weight, and the adapter's name when it is one."""
        position = int(np.searchsorted(self._model_edges, self.rng.random(), side="right"))
        share = self.spec.models[min(position, len(self.spec.models) - 1)]
        return share.name, share.name if share.adapter else None

    def unit(self, arrival: int, model: str) -> UnitSpec:
        """The unit of the arrival of that number."""
        workload = self.spec.workload
        if self._rows:
            unit = self._from_trace(self._rows[arrival % len(self._rows)], model)
        elif workload.prompt is not None:
            unit = self._conversation(model, [], None, literal=workload.prompt)
        elif workload.form == "tokens":
            unit = self._token_unit(model)
        else:
            beginning, group = self._beginning()
            unit = self._conversation(model, beginning, group)
        unit.texts = self.texts.take_fresh()
        return unit

    # --- synthetic prompts ----------------------------------------------------------------------

    def _pick_group(self) -> int:
        assert self._edges is not None
        group = int(np.searchsorted(self._edges, self.rng.random(), side="right"))
        return min(group, len(self._edges) - 1)

    def _prefix_tokens(self, group: int) -> int:
        prefix = self.spec.workload.prefix
        assert prefix is not None
        return sample_count(prefix.tokens, stream(self.seed, self.spec.name, "prefix length", str(group)))

    def _beginning(self) -> tuple[list[Text], str | None]:
        if self.spec.workload.prefix is None:
            return [], None
        group = self._pick_group()
        count = self._prefix_tokens(group)
        rng = stream(self.seed, self.spec.name, "prefix", str(group))
        number = self.texts.shared(("prefix", group), lambda: escape(text_of(count, rng)))
        return [Text(number, count)], f"g{group}"

    def _max_tokens(self) -> int:
        fixed = self.spec.max_tokens
        drawn = sample_count(self.spec.workload.output_tokens, self.rng)
        return fixed if fixed is not None else drawn

    def _conversation(
        self, model: str, beginning: list[Text], group: str | None, literal: str | None = None
    ) -> UnitSpec:
        sessions = self.spec.workload.sessions
        turns = sample_count(sessions.turns, self.rng) if sessions else 1
        dialogue = Dialogue(beginning, group)
        for turn in range(turns):
            lengths = self.spec.workload.input_tokens
            if turn and sessions and sessions.input_tokens:
                lengths = sessions.input_tokens
            question = literal or text_of(sample_count(lengths, self.rng), self.rng)
            output = self._max_tokens()
            dialogue.add(question, output, sample(sessions.think, self.rng) if sessions and turn else 0.0)
        return self.grow(model, dialogue)

    def grow(self, model: str, dialogue: Dialogue) -> UnitSpec:
        """The turns of a conversation: each prompt is the whole history with the real answers in it."""
        unit = UnitSpec([], dialogue.group)
        shared = sum(part.tokens for part in dialogue.beginning)
        history = [Said("system", tuple(dialogue.beginning))] if dialogue.beginning else []
        total = shared
        for turn, question in enumerate(dialogue.questions):
            output = dialogue.outputs[turn]
            words = len(question.split())
            value: str | int = question
            if len(dialogue.questions) > 1:  # later turns repeat it
                value = self.texts.number()
                unit.own.append((value, escape(question)))
            history.append(Said("user", (Text(value, words),)))
            total += words
            unit.turns.append(
                TurnSpec(
                    body=body_pieces(self.spec, model, history, output),
                    max_tokens=output,
                    prompt_tokens=total,
                    shared_tokens=shared,
                    think=dialogue.thinks[turn],
                )
            )
            history.append(Said("assistant", answer=turn))
            total += output
        return unit

    def _token_unit(self, model: str) -> UnitSpec:
        workload = self.spec.workload
        pieces: list[Piece] = []
        shared, group_name = 0, None
        if workload.prefix is not None:
            group = self._pick_group()
            shared, group_name = self._prefix_tokens(group), f"g{group}"
            rng = stream(self.seed, self.spec.name, "prefix", str(group))
            number = self.texts.shared(
                ("prefix", group), lambda: ids_of(shared, workload.vocabulary, rng) + ","
            )
            pieces.append(number)
        count = sample_count(workload.input_tokens, self.rng)
        pieces.append(ids_of(count, workload.vocabulary, self.rng))
        output = self._max_tokens()
        body = token_body_pieces(self.spec, model, pieces, output)
        return UnitSpec([TurnSpec(body, output, shared + count, shared)], group_name)

    # --- traces ---------------------------------------------------------------------------------

    def _from_trace(self, row: TraceRow, model: str) -> UnitSpec:
        output = self.spec.max_tokens or row.output_tokens
        if row.turns:
            sessions = self.spec.workload.sessions
            turns = row.turns[: sample_count(sessions.turns, self.rng)] if sessions else row.turns[:1]
            dialogue = Dialogue([], None)
            for turn, (question, answer) in enumerate(turns):
                think = sample(sessions.think, self.rng) if sessions and turn else 0.0
                dialogue.add(question, self.spec.max_tokens or max(1, count_words(answer)), think)
            return self.grow(model, dialogue)
        tokens = self.spec.workload.form == "tokens"
        parts = self._blocks(row, tokens) if row.blocks else self._fresh_text(row.input_tokens, tokens)
        if tokens:
            body = token_body_pieces(self.spec, model, [part.value for part in parts], output)
        else:
            body = body_pieces(self.spec, model, [Said("user", tuple(parts))], output)
        return UnitSpec([TurnSpec(body, output, row.input_tokens)])

    def _fresh_text(self, count: int, tokens: bool) -> list[Text]:
        value = ids_of(count, self.spec.workload.vocabulary, self.rng) if tokens else text_of(count, self.rng)
        return [Text(value, count)]

    def _blocks(self, row: TraceRow, tokens: bool) -> list[Text]:
        """Blocks of equal id are equal text; the last is cut to the row's length."""
        trace = self.spec.workload.trace
        assert trace is not None
        size, left = trace.block_size, row.input_tokens
        parts: list[Text] = []
        for block in row.blocks:
            count = min(size, left)
            if count <= 0:
                break
            rng = stream(self.seed, self.spec.name, "block", str(block))
            comma = "," if tokens and left > count else ""

            def make(rng: np.random.Generator = rng, count: int = count, comma: str = comma) -> str:
                if tokens:
                    ids = ids_of(size, self.spec.workload.vocabulary, rng).split(",")
                    return ",".join(ids[:count]) + comma
                return escape("".join(f" {word}" for word in text_of(size, rng).split()[:count]))

            parts.append(Text(self.texts.shared(("block", block, count, comma), make), count))
            left -= count
        return parts
