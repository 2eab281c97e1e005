"""Step models whose steps all take the same time, whatever they compute."""

from __future__ import annotations

import json
from dataclasses import asdict

from simulator.engine.pace.latency import StepCoefficients


def flat(microseconds: float) -> StepCoefficients:
    return StepCoefficients(c0=microseconds, c1=0, c2=0, k=1, c3=0, c4=0, c5=0)


def flat_flag(microseconds: float) -> str:
    """The same as the value of --step-model."""
    return json.dumps(asdict(flat(microseconds)))


FLAT_20_MS = flat_flag(20_000)
