"""Named settings of the synthetic production generator, and where their figures come from.

Lengths and arrival shapes are those computed from the public traces: Azure LLM 2023 (conversation,
code), Mooncake FAST'25 and ShareGPT; client mixes and per-client variation from ServeGen. `mu` and
`sigma` are of the natural logarithm of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Tokens: exp(N(mu, sigma)), clipped to [low, high]."""

    mu: float
    sigma: float
    low: int
    high: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Preset:
    """One kind of production traffic.

    clients share the rate by (rank+1)**-client_zipf; each is a gamma renewal process whose CV is drawn
    from exp(N(ln cv, cv_sigma)). Prompts begin with `system_tokens` that all share, then the tenant's
    own `tenant_tokens`; tenants are chosen by Zipf. Sessions grow by whole histories.
    """

    clients: int
    client_zipf: float
    cv: float
    cv_sigma: float
    inputs: LogNormal
    later: LogNormal
    """Fresh tokens of turns after the first."""
    outputs: tuple[LogNormal, ...]
    system_tokens: int
    tenants: int
    tenant_zipf: float
    tenant_tokens: int
    turns: float
    think: float
    documents: int = 0
    document_tokens: int = 0
    document_zipf: float = 1.0
    hit: float = 0.0
    """Infinite-cache hit share that the recipe aims at."""


PRESETS: dict[str, Preset] = {
    # Azure conv: input logN(6.63, .985) with the history in it, output bimodal (mean 211, p50 129, p90 424).
    "chat": Preset(
        clients=43,
        client_zipf=1.6,
        cv=1.2,
        cv_sigma=0.7,
        inputs=LogNormal(6.25, 0.985, 8, 14050),
        later=LogNormal(5.3, 0.9, 8, 4000),
        outputs=(LogNormal(4.3, 0.8, 1, 1000, 0.7), LogNormal(5.95, 0.25, 1, 1000, 0.3)),
        system_tokens=48,
        tenants=16,
        tenant_zipf=1.1,
        tenant_tokens=64,
        turns=1.35,
        think=5.0,
        hit=0.37,
    ),
    # Azure code: input logN(7.0, 1.36) up to 7437, output logN(2.79, .85), gap CV 13 over the whole.
    "code": Preset(
        clients=109,
        client_zipf=1.3,
        cv=3.5,
        cv_sigma=0.7,
        inputs=LogNormal(6.9, 1.2, 16, 7437),
        later=LogNormal(4.6, 0.9, 8, 2000),
        outputs=(LogNormal(2.79, 0.85, 1, 600),),
        system_tokens=64,
        tenants=64,
        tenant_zipf=1.0,
        tenant_tokens=64,
        turns=1.0,
        think=0.0,
        hit=0.08,
    ),
    # Mooncake's synthetic trace: long documents asked several times, short answers (mean 149).
    "doc-qa": Preset(
        clients=43,
        client_zipf=1.2,
        cv=1.0,
        cv_sigma=0.3,
        inputs=LogNormal(4.0, 0.8, 8, 1000),
        later=LogNormal(4.6, 0.9, 8, 2000),
        outputs=(LogNormal(4.7, 0.8, 1, 800),),
        system_tokens=64,
        tenants=8,
        tenant_zipf=1.0,
        tenant_tokens=64,
        turns=1.0,
        think=0.0,
        documents=64,
        document_tokens=3000,
        document_zipf=0.8,
        hit=0.64,
    ),
    # Coding agents: many short steps over one growing history, little thinking between them.
    "agent": Preset(
        clients=43,
        client_zipf=1.6,
        cv=1.2,
        cv_sigma=0.7,
        inputs=LogNormal(5.2, 0.9, 8, 4000),
        later=LogNormal(4.6, 0.9, 8, 2000),
        outputs=(LogNormal(4.5, 0.7, 1, 600),),
        system_tokens=1024,
        tenants=8,
        tenant_zipf=1.2,
        tenant_tokens=512,
        turns=8.0,
        think=0.5,
        hit=0.9,
    ),
}
