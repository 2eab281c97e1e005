"""What is asked: limits to be kept, profiles and pickers to be tried, prices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import UsageError
from gateway.simulate.summary import METRICS, Slo
from kit.durations import parse_duration
from simulator.engine.pace.profiles import PROFILES

_SLO = re.compile(r"(\w+)\.p(\d{1,2}(?:\.\d+)?)\s*(?:=|<=?)\s*(\S+)")
_PRICE = re.compile(r"(.+)=([0-9]*\.?[0-9]+)(?:/h)?")


@dataclass(frozen=True, slots=True)
class Kind:
    """One combination that is sized: a profile under a picker. `price` is of one replica, per hour."""

    profile: str
    picker: Path | None = None
    price: float | None = None

    @property
    def name(self) -> str:
        return self.profile if self.picker is None else f"{self.profile}, {self.picker.stem}"


def slo_of(text: str) -> Slo:
    """`ttft.p95=500ms` as a limit. UsageError for anything else."""
    found = _SLO.fullmatch(text.strip())
    if found is None or found[1] not in METRICS:
        raise UsageError(f"--slo {text}: write it as ttft.p95=500ms; there are {', '.join(METRICS)}")
    try:
        limit = parse_duration(found[3])
    except ValueError as error:
        raise UsageError(f"--slo {text}: {error}") from error
    return Slo(found[1], float(found[2]), limit)


def kinds_of(profiles: str, pickers: str | None, prices: list[str]) -> list[Kind]:
    """Every profile under every picker. UsageError for a name or a price that cannot be used."""
    names = [name.strip() for name in profiles.split(",") if name.strip()]
    unknown = [name for name in names if name not in PROFILES]
    if unknown or not names:
        raise UsageError(
            f"--profile {profiles}: {', '.join(unknown) or 'none'} unknown; there are {', '.join(PROFILES)}"
        )
    by_profile = _prices(prices, names)
    files = _files(pickers or "") or [None]
    return [Kind(name, file, by_profile.get(name)) for name in names for file in files]


def _prices(prices: list[str], names: list[str]) -> dict[str, float]:
    found = {}
    for text in prices:
        match = _PRICE.fullmatch(text.strip())
        if match is None or match[1] not in names:
            raise UsageError(f"--price {text}: write it as PROFILE=3.5/h, with a profile of --profile")
        found[match[1]] = float(match[2])
    return found


def _files(pickers: str) -> list[Path | None]:
    files: list[Path | None] = []
    for name in filter(None, map(str.strip, pickers.split(","))):
        file = Path(name).resolve()
        if not file.is_file():
            raise UsageError(f"--picker {file}: no such file")
        files.append(file)
    return files
