"""The synthetic production generator: clients, tenants, documents and growing sessions of a preset.

The recipe: arrivals are the sum of clients (arrivals.py); a prompt is the system text that all share,
the text of the client's tenant, perhaps a document, and fresh words; turn k repeats the whole history.
Lengths are log-normal mixtures clipped as the traces are. See presets.py for the figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadgen.plan.arrivals import client_shares, stream
from loadgen.plan.prompts import Dialogue, Maker, UnitSpec
from loadgen.plan.tokenizer import Tokenizer
from loadgen.scenario.presets import PRESETS, LogNormal
from loadgen.scenario.scenario import ClassSpec


def draw(parts: Sequence[LogNormal], rng: np.random.Generator) -> int:
    """One length out of a mixture of clipped log-normals."""
    part = parts[0]
    if len(parts) > 1:
        weights = np.array([each.weight for each in parts])
        part = parts[int(rng.choice(len(parts), p=weights / weights.sum()))]
    return int(min(max(round(rng.lognormal(part.mu, part.sigma)), part.low), part.high))


def zipf_edges(count: int, exponent: float) -> np.ndarray:
    """Cumulated shares of `count` things by (rank+1)**-exponent."""
    weights = (np.arange(count) + 1.0) ** -exponent
    return np.asarray(np.cumsum(weights / weights.sum()))


class ProductionMaker(Maker):
    """Units of one preset."""

    def __init__(self, spec: ClassSpec, index: int, seed: int, tokens: Tokenizer | None = None) -> None:
        super().__init__(spec, index, seed, tokens=tokens)
        assert spec.workload.preset is not None
        self.preset = PRESETS[spec.workload.preset]
        self._client_edges = np.cumsum(client_shares(self.preset))
        rng = stream(seed, spec.name, "tenants")
        edges = zipf_edges(self.preset.tenants, self.preset.tenant_zipf)
        picks = np.searchsorted(edges, rng.random(self.preset.clients), side="right")
        self._tenants = np.minimum(picks, self.preset.tenants - 1).tolist()
        self._documents = (
            zipf_edges(self.preset.documents, self.preset.document_zipf) if self.preset.documents else None
        )

    def any_client(self) -> int:
        """A client by its share of the load, for arrivals that are not the clients' own."""
        client = int(np.searchsorted(self._client_edges, self.rng.random(), side="right"))
        return min(client, self.preset.clients - 1)

    def production_unit(self, client: int, model: str) -> UnitSpec:
        """The unit that an arrival of this client brings."""
        preset, rng = self.preset, self.rng
        tenant = self._tenants[client % preset.clients]
        beginning = [
            self.shared(preset.system_tokens, "system", "0"),
            self.shared(preset.tenant_tokens, "tenant", str(tenant)),
        ]
        group = f"tenant{tenant}"
        if self._documents is not None:
            document = min(
                int(np.searchsorted(self._documents, rng.random(), side="right")), preset.documents - 1
            )
            beginning.append(self.shared(preset.document_tokens, "document", str(document)))
            group = f"doc{document}"
        dialogue = Dialogue(beginning, group)
        for turn in range(int(rng.geometric(1.0 / preset.turns))):
            lengths = preset.inputs if turn == 0 else preset.later
            output = self.spec.max_tokens or draw(preset.outputs, rng)
            think = float(rng.exponential(preset.think)) if turn and preset.think else 0.0
            dialogue.add(self.fresh(draw((lengths,), rng)), output, think)
        return self.grow(model, dialogue)
