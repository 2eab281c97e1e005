"""What requests ask for: seeded prompts with shared beginnings, conversations, traces and presets.

A maker turns the number of an arrival into a `UnitSpec`: one request, or all turns of a session. Made text
is a recipe wherever it stands, as what several requests share is; only the texts of others, which no recipe
makes, are numbered and travel with the session that repeats them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from loadgen.plan.arrivals import stream
from loadgen.plan.bodies import Said, Text, body_pieces, given_body, token_body_pieces
from loadgen.plan.plan import Piece, escape
from loadgen.plan.tokenizer import Tokenizer
from loadgen.plan.tracerow import TraceRow, count_words
from loadgen.plan.words import Recipe, fresh_seed, mixed_seed, sample, sample_count
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
    """What one arrival brings; `own` are texts that several of its turns hold."""

    turns: list[TurnSpec]
    group: str | None = None
    own: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class Dialogue:
    """What a conversation is made of, turn by turn, behind its shared beginning."""

    beginning: list[Text]
    group: str | None
    questions: list[Text] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    thinks: list[float] = field(default_factory=list)

    def add(self, question: Text, output: int, think: float) -> None:
        self.questions.append(question)
        self.outputs.append(output)
        self.thinks.append(think)


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

    def __init__(
        self,
        spec: ClassSpec,
        index: int,
        seed: int,
        rows: Sequence[TraceRow] = (),
        tokens: Tokenizer | None = None,
    ) -> None:
        self.spec = spec
        self.seed = seed
        self._count = tokens.count if tokens is not None else count_words
        # What the model puts before a plain prompt, so that ours has so many fewer.
        self._specials = tokens.specials if tokens is not None and spec.api == "completions" else 0
        self.rng = stream(seed, spec.name, "prompts")
        self._texts = itertools.count(index * TEXTS_PER_CLASS)
        self._seeds: dict[tuple[str, ...], int] = {}
        self._lengths: dict[int, int] = {}
        self._block_seed = fresh_seed(stream(seed, spec.name, "block"))
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
        return unit

    def fresh(self, count: int, vocabulary: int = 0) -> Text:
        """So many words, or ids, that no other request has."""
        return Text(Recipe(count, fresh_seed(self.rng), vocabulary), count)

    def shared(self, count: int, *names: str, vocabulary: int = 0) -> Text:
        """So many words, or ids, that are the same wherever these names are given."""
        seed = self._seeds.get(names)
        if seed is None:
            seed = self._seeds[names] = fresh_seed(stream(self.seed, self.spec.name, *names))
        return Text(Recipe(count, seed, vocabulary), count)

    # --- synthetic prompts ----------------------------------------------------------------------

    def _pick_group(self) -> int:
        assert self._edges is not None
        group = int(np.searchsorted(self._edges, self.rng.random(), side="right"))
        return min(group, len(self._edges) - 1)

    def _beginning(self, vocabulary: int = 0) -> tuple[list[Text], str | None]:
        prefix = self.spec.workload.prefix
        if prefix is None:
            return [], None
        group = self._pick_group()
        count = self._lengths.get(group)
        if count is None:
            rng = stream(self.seed, self.spec.name, "prefix length", str(group))
            count = self._lengths[group] = sample_count(prefix.tokens, rng)
        return [self.shared(count, "prefix", str(group), vocabulary=vocabulary)], f"g{group}"

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
            question = (
                Text(literal, self._count(literal))
                if literal
                else self.fresh(max(1, sample_count(lengths, self.rng) - (0 if turn else self._specials)))
            )
            output = self._max_tokens()
            dialogue.add(question, output, sample(sessions.think, self.rng) if sessions and turn else 0.0)
        return self.grow(model, dialogue)

    def grow(self, model: str, dialogue: Dialogue) -> UnitSpec:
        """The turns of a conversation: each prompt is the whole history with the real answers in it."""
        unit = UnitSpec([], dialogue.group)
        shared = sum(part.tokens for part in dialogue.beginning)
        history = [Said("system", tuple(dialogue.beginning))] if dialogue.beginning else []
        total = shared + self._specials
        for turn, asked in enumerate(dialogue.questions):
            question = asked
            output = dialogue.outputs[turn]
            if len(dialogue.questions) > 1 and isinstance(question.value, str):  # later turns repeat it
                number = next(self._texts)
                unit.own.append((number, escape(question.value)))
                question = Text(number, question.tokens)
            history.append(Said("user", (question,)))
            total += question.tokens
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
        beginning, group = self._beginning(workload.vocabulary)
        shared = sum(part.tokens for part in beginning)
        count = sample_count(workload.input_tokens, self.rng)
        parts = [*beginning, self.fresh(count, workload.vocabulary)]
        output = self._max_tokens()
        body = token_body_pieces(self.spec, model, listed(parts), output)
        return UnitSpec([TurnSpec(body, output, shared + count, shared)], group)

    # --- traces ---------------------------------------------------------------------------------

    def _from_trace(self, row: TraceRow, model: str) -> UnitSpec:
        if row.turns:
            sessions = self.spec.workload.sessions
            turns = row.turns[: sample_count(sessions.turns, self.rng)] if sessions else row.turns[:1]
            dialogue = Dialogue([], None)
            for turn, (question, answer) in enumerate(turns):
                think = sample(sessions.think, self.rng) if sessions and turn else 0.0
                dialogue.add(
                    Text(question, self._count(question)),
                    self.spec.max_tokens or max(1, self._count(answer)),
                    think,
                )
            return self.grow(model, dialogue)
        if row.body is not None:
            return self._asked(row, model)
        if row.later and all(each.text is not None for each in (row, *row.later)):
            return self._told(row, model)
        unit = UnitSpec([self._turn_of(each, model) for each in (row, *row.later)], row.group)
        for made, each in zip(unit.turns[1:], row.later, strict=True):
            made.think = each.delay or 0.0
        return unit

    def _asked(self, row: TraceRow, model: str) -> UnitSpec:
        """A request that the trace has in full; its own limit on tokens is in it."""
        assert row.body is not None
        output = self.spec.max_tokens or row.output_tokens or self._max_tokens()
        return UnitSpec([TurnSpec(given_body(self.spec, model, row.body, output), output, row.input_tokens)])

    def _told(self, row: TraceRow, model: str) -> UnitSpec:
        """A session whose questions the trace has; each prompt is the history with the real answers in it."""
        dialogue = Dialogue([], row.group)
        for each in (row, *row.later):
            question = Text(each.text or "", self._count(each.text or ""))
            dialogue.add(question, self.spec.max_tokens or each.output_tokens, each.delay or 0.0)
        return self.grow(model, dialogue)

    def _turn_of(self, row: TraceRow, model: str) -> TurnSpec:
        """A request of the trace's lengths and blocks, or text."""
        output = self.spec.max_tokens or row.output_tokens
        vocabulary = self.spec.workload.vocabulary if self.spec.workload.form == "tokens" else 0
        if row.text is not None and not vocabulary:
            parts = [Text(row.text, row.input_tokens)]
        elif row.blocks:
            parts = self._blocks(row, vocabulary)
        else:
            lead = 0 if vocabulary else self._specials
            parts = [self.fresh(max(1, row.input_tokens - lead), vocabulary)]
        if vocabulary:
            body = token_body_pieces(self.spec, model, listed(parts), output)
        else:
            body = body_pieces(self.spec, model, [Said("user", tuple(parts))], output)
        return TurnSpec(body, output, row.input_tokens)

    def _blocks(self, row: TraceRow, vocabulary: int) -> list[Text]:
        """Blocks of equal id are equal text; the last is cut to the row's length."""
        trace = self.spec.workload.trace
        assert trace is not None
        size, left = trace.block_size, row.input_tokens
        parts: list[Text] = []
        for block in row.blocks:
            count = min(size, left)
            if count <= 0:
                break
            parts.append(Text(Recipe(count, mixed_seed(self._block_seed, block), vocabulary), count))
            left -= count
        return parts


def listed(parts: Sequence[Text]) -> list[Piece]:
    """Parts of token ids as one list of them."""
    pieces: list[Piece] = []
    for part in parts:
        pieces += [",", part.value] if pieces else [part.value]
    return pieces
