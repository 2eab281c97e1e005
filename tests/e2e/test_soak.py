"""A large stack under churn: pods killed, restarted, drained, added and taken away for ten minutes."""

from __future__ import annotations

import random
import time

import pytest

from tests.e2e.labkit import Labs, completion, until
from tests.e2e.loader import Load
from tests.soaking import Held, sized

PODS = 200
RATE = 50.0
POOL = "inference-pool"
pytestmark = pytest.mark.slow


def test_200_pods_under_churn(labs: Labs) -> None:
    """Ten minutes at full size; requests keep being answered, and nothing grows or stays behind."""
    seconds = sized(600, 30)
    lab = labs.up("--replicas", str(PODS), "--no-live", name="soak")
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
    assert not [outcome for outcome in calm if outcome in load.failed], "requests fail after the churn"
    assert len(load.failed) < len(load.outcomes) / 20, (len(load.failed), len(load.outcomes))
    assert held.growth_mb() < 10, str(held)
    fds = [look[2] for look in held.looks]
    third = len(fds) // 3
    assert max(fds[-third:]) <= max(fds[third : 2 * third]) + 50, str(held)
    print(f"\n{changes} changes, {len(load.outcomes)} requests, {len(load.failed)} failed: {held}")
