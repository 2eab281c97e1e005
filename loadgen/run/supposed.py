"""Is the fleet that runs the one a scenario supposes? What differs is said, never taken for granted.

Expectations hold for pods of a certain number, speed and size (`fleet:`). A listing tells of each pod its
flags (`args`) and the kind of its latency model (`latency`); of a fleet that tells neither nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from loadgen.run.fleetlist import Fleet
from loadgen.scenario.fleetneeds import flag_name
from loadgen.scenario.scenario import FleetNeeds, Scenario

NO_LATENCY = "zero"
MOST_NAMED = 4  # so many flags are spelt out


def differences(scenario: Scenario, fleet: Fleet) -> list[str]:
    """Sentences about what the fleet is not, each with its consequence; none for a fleet that fits."""
    said = []
    if scenario.fleet is not None:
        missing = list(_missing(scenario.fleet, fleet))
        if missing:
            said.append(
                f"the fleet is not the one that {scenario.name} supposes: {'; '.join(missing)}; its "
                "expectations are about that one (`simfleet up --print-manifests | loadgen scenarios "
                f"{_source(scenario)} --manifests - | simfleet up -f -` runs it)"
            )
    return said + list(_timeless(scenario.fleet, fleet))


def _source(scenario: Scenario) -> str:
    """What `loadgen scenarios` knows it by."""
    return scenario.source if scenario.source and Path(scenario.source).is_file() else scenario.name


def _missing(needs: FleetNeeds, fleet: Fleet) -> Iterator[str]:
    servers = fleet.servers
    if needs.replicas is not None and len(servers) != needs.replicas:
        yield f"{len(servers)} pods, not {needs.replicas}"
    told = [server for server in servers if server.args is not None]
    wanted = _by_flag(needs.args)
    lacking: dict[str, int] = {}
    for server in told:
        given = _by_flag(server.args or ())
        for name, values in wanted.items():
            if given.get(name) != values:
                spelt = " ".join(("--" + name, *values))
                lacking[spelt] = lacking.get(spelt, 0) + 1
    for number, (spelt, count) in enumerate(lacking.items()):
        if number == MOST_NAMED:
            yield f"{len(lacking) - MOST_NAMED} flags more"
            return
        whom = "pods" if count == len(servers) else f"{count} of {len(servers)} pods"
        yield f"{whom} without {spelt}"


def _timeless(needs: FleetNeeds | None, fleet: Fleet) -> Iterator[str]:
    """Pods that answer at once, where nobody asked for such ones."""
    without = [server for server in fleet.servers if server.latency == NO_LATENCY]
    if not without or (needs is not None and not any(map(_is_about_time, needs.args))):
        return
    whom = "pods" if len(without) == len(fleet.servers) else f"{len(without)} of {len(fleet.servers)} pods"
    yield f"{whom} have no latency model: times say nothing of a model server (give them --profile)"


def _is_about_time(argument: str) -> bool:
    name = flag_name(argument) or ""
    return name in ("profile", "latency", "step-model") or name.endswith(("-token", "-latency"))


def _by_flag(args: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Values by flag, as `--a-b=c`, `--a_b c` and `--a-b c` all mean the same."""
    found: dict[str, tuple[str, ...]] = {}
    last = ""
    for argument in map(str, args):
        name = flag_name(argument)
        if name is None:
            found[last] = (*found.get(last, ()), argument)
            continue
        last = name
        _, equals, value = argument.partition("=")
        found[last] = (value,) if equals else ()
    return found


def foreign_pods(fleet: Fleet) -> dict[str, str]:
    """The stack of each pod that only another stack has: an answer from it came from the wrong one."""
    own = {server.name for server in fleet.servers}
    return {pod: stack for pod, stack in fleet.others.items() if pod not in own}


def warmup_words(warmup: float, span: float) -> str | None:
    """What to say of a warm-up that leaves half of a plan or less to be judged, or None. Both in seconds."""
    if not warmup or warmup < span / 2:
        return None
    if warmup >= span:
        return f"the warm-up of {warmup:g} s covers the whole plan of {span:g} s: nothing is left to judge"
    return (
        f"the warm-up of {warmup:g} s takes {warmup / span:.0%} of the {span:g} s that are planned: "
        "figures are about the rest (--warmup, --duration)"
    )
