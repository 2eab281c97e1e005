"""Everything that differs between Istio's releases, as one table; code asks the table, never a version.

Read from the sources of Istio 1.28 to 1.31 and compared with the xDS of an istiod between 1.31 and 1.32. The
last rows are what a release gets wrong: they hold only where `--istio-bugs` asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.errors import UsageError


@dataclass(frozen=True, slots=True)
class Istio:
    """How one release translates."""

    name: str
    tracks_remaining: bool  # circuit breakers count what remains of their limits
    answers_foreign_preflights: bool  # a CORS preflight of an origin that is not allowed ends at the gateway
    # Bugs.
    last_pool_picks: bool = False  # of a rule over several pools the last one's picker is asked for all
    cors_drops_picker: bool = False  # a CORS filter on a rule with a pool leaves no picker
    grpc_has_no_picker: bool = False  # nor has a GRPCRoute one
    root_loses_slash: bool = False  # where `/` is replaced by `/pre`, `/x` goes to `/prex`


_1_28 = Istio("1.28", tracks_remaining=True, answers_foreign_preflights=False)
_1_29 = replace(_1_28, name="1.29", tracks_remaining=False)
_1_30 = replace(_1_29, name="1.30", answers_foreign_preflights=True)
_1_31 = replace(_1_30, name="1.31")

TABLE = {row.name: row for row in (_1_28, _1_29, _1_30, _1_31)}
LATEST = _1_31.name

# What each release gets wrong: istio#61594, and #60182 after #54920; all of them to this day.
_BUGS = dict.fromkeys(
    TABLE, ("last_pool_picks", "cors_drops_picker", "grpc_has_no_picker", "root_loses_slash")
)


def istio(release: str = LATEST, *, bugs: bool = False) -> Istio:
    """The row of `release` ("1.30", "1.30.2", "v1.30"), with its bugs or without. Raises UsageError."""
    name = ".".join(release.removeprefix("v").split(".")[:2])
    row = TABLE.get(name)
    if row is None:
        raise UsageError(f"--istio-release {release}: must be one of {', '.join(TABLE)}")
    if bugs:
        for bug in _BUGS[name]:
            row = replace(row, **{bug: True})  # type: ignore[arg-type] # bugs are flags
    return row
