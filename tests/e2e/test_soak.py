"""A large stack under churn: pods killed, restarted, drained, added and taken away for ten minutes."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway.commands.up import preset
from tests.e2e.labkit import Labs, completion, until
from tests.e2e.loader import Load
from tests.soaking import Held, sized

PODS = 200
RATE = 50.0
POOL = "inference-pool"
pytestmark = pytest.mark.slow


def manifests(labs: Labs) -> str:
    """The lab preset, whose picker looks at each pod twice a second: the churn is what is to be seen."""
    text = Path(preset()[0]).read_text()
    seldom = '- --refresh-metrics-interval\n            - "500ms"\n            - --pool-name\n'
    assert "- --pool-name\n" in text
    return labs.manifests(text.replace("- --pool-name\n", seldom, 1), "soak.yaml")


def test_200_pods_under_churn(labs: Labs) -> None:
    """Ten minutes at full size; requests keep being answered, and nothing grows or stays behind."""
    seconds = sized(600, 30)
    lab = labs.up("-f", manifests(labs), "--replicas", str(PODS), "--no-live", name="soak")
    rng = random.Random(1)
    held = Held(lab.process.pid)
    changes = 0
    with Load(lab.url + "/v1/completions", completion(max_tokens=4), RATE) as load:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pods = lab.pods
            ready = [pod["name"] for pod in pods if pod["state"] == "ready"]
            gone = [pod["name"] for pod in pods if pod["state"] in ("killed", "drained")]
            if changes % 50 == 49:
                lab.ask("scale", target=POOL, replicas=rng.choice([PODS - 20, PODS, PODS + 20]))
            elif gone and (len(gone) > 20 or rng.random() < 0.5):
                lab.ask("restart", name=rng.choice(gone))
            else:
                lab.ask(rng.choice(["kill", "drain", "restart"]), name=rng.choice(ready))
            changes += 1
            held.look()
            time.sleep(0.05)  # the churn's pace
        lab.ask("scale", target=POOL, replicas=PODS)
        for pod in lab.pods:
            if pod["state"] != "ready":
                lab.ask("restart", name=pod["name"])
        until(lambda: sum(pod["state"] == "ready" for pod in lab.pods) == PODS, 30.0, "all pods ready")
        goal = len(load.outcomes) + 200
        until(lambda: len(load.outcomes) >= goal, 30.0, "answers after the churn")
        calm = load.outcomes[-100:]
        steady = max(look[2] for look in held.looks[: len(held.looks) * 2 // 3])
        held.look()
        assert held.looks[-1][2] <= steady + 50, str(held)  # as many pods as at the beginning
    assert not [outcome for outcome in calm if outcome in load.failed], "requests fail after the churn"
    kinds = Counter((outcome.status, outcome.detail[:80]) for outcome in load.failed)
    assert len(load.failed) < len(load.outcomes) / 20, (len(load.outcomes), kinds)
    assert held.growth_mb() < 10, str(held)
    print(f"\n{changes} changes, {len(load.outcomes)} requests, {len(load.failed)} failed: {held}")
