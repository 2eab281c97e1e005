"""The manifests of the fleet that a scenario supposes, for the hooks that bring each arm's fleet up."""

from __future__ import annotations

import subprocess
from pathlib import Path

from loadgen.compare.hooks import TIMEOUT, use_own_commands
from loadgen.errors import RunError, ScenarioError
from loadgen.scenario.fleetneeds import manifests_for
from loadgen.scenario.scenario import FleetNeeds, Scenario

FLEET_FILE = "fleet.yaml"
VARIABLE = "LOADGEN_FLEET"  # environment variable in which hooks find the file
LAB = ("simfleet", "up", "--print-manifests")


def write_fleet(scenario: Scenario, manifests: Path | None, out: Path) -> dict[str, str]:
    """Write the file where a hook asks for it; what hooks find in their environment.

    manifests: those to be fitted, by default simfleet's own lab. ScenarioError where they cannot be.
    """
    if not any(VARIABLE in (arm.setup or "") for arm in scenario.arms):
        if manifests is not None:
            raise ScenarioError(f'--manifests: no setup uses them; name them there as -f "${VARIABLE}"')
        return {}
    path = (out / FLEET_FILE).resolve()
    if manifests is None:
        path.write_text(_lab(), encoding="utf-8")
        manifests = path
    path.write_text(manifests_for(scenario.fleet or FleetNeeds(), manifests), encoding="utf-8")
    return {VARIABLE: str(path)}


def _lab() -> str:
    """The manifests that `simfleet up` runs when it is given none."""
    use_own_commands()
    command = " ".join(LAB)
    try:
        done = subprocess.run(LAB, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"`{command}`: {error}; give manifests with --manifests FILE") from error
    if done.returncode:
        raise RunError(f"`{command}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
