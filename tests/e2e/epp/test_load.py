"""A real picker under load: distinct and shared prefixes, uneven pods; pods and pickers that come and go."""

from __future__ import annotations

import asyncio
import collections
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.commands.up import preset
from gateway.stack.pickers.go import Binary
from tests.e2e.labkit import Lab, Labs, completion
from tests.e2e.loader import Load
from tests.waiting import until

pytestmark = pytest.mark.epp
Figure = Callable[[str], None]
REQUESTS = 2000
CONCURRENCY = 24
GROUPS = 9
POOL = "inference-pool"
RATE = 150.0


def manifests(labs: Labs, *flags: str) -> str:
    """The lab preset with more flags for its model servers."""
    text = Path(preset()[0]).read_text()
    lines = "".join(f'- "{flag}"\n            ' for flag in flags)
    changed = text.replace("- --model\n", f"{lines}- --model\n", 1)
    assert changed != text
    return labs.manifests(changed, "load.yaml")


SLOW = ("--time-to-first-token", "50ms", "--inter-token-latency", "10ms", "--max-num-seqs", "64")


@pytest.fixture(scope="module")
def lab(labs: Labs, epp: Binary) -> Iterator[Lab]:
    made = labs.up("-f", manifests(labs, *SLOW), "--epp", str(epp.path), name=f"load{len(epp.flags)}")
    yield made
    made.down()


def settled(load: Load, more: int = 100) -> None:
    goal = len(load.outcomes) + more
    until(lambda: len(load.outcomes) >= goal, 60.0, "answers")  # a guard: how fast they are is not asked


def test_churn(lab: Lab, figure: Figure) -> None:
    """Only what was in flight at the killed pod fails; new pods are picked, drained ones lose nothing."""
    victim, leaver, _ = [p["name"] for p in lab.pods]
    body = completion(max_tokens=10, ignore_eos=True)
    with Load(lab.url + "/v1/completions", body, RATE) as load:
        settled(load)
        killed = time.monotonic()
        lab.ask("kill", name=victim)
        settled(load)
        added = time.monotonic()
        lab.ask("scale", target=POOL, replicas=5)
        new = [p["name"] for p in lab.pods[3:]]
        settled(load, 200)
        lab.ask("drain", name=leaver)
        drained = time.monotonic()
        settled(load)
        restarted = time.monotonic()
        lab.ask("restart", name=victim)
        settled(load, 200)
    first = max(min(o.end for o in load.served_by(pod)) - added for pod in new)
    back = min(o.end for o in load.served_by(victim) if o.end > restarted) - restarted
    figure(
        f"churn at {RATE:.0f} req/s: {len(load.failed)} of {len(load.outcomes)} failed, all in flight at the "
        f"killed pod; first answer of each new pod within {first:.2f} s, of the restarted one {back:.2f} s"
    )
    assert len(load.failed) <= 40, load.failed
    for outcome in load.failed:
        assert outcome.start < killed + 0.3, outcome
        assert killed < outcome.end, outcome
    assert first < 1.5
    assert back < 1.5
    assert max(o.start for o in load.served_by(leaver)) < drained


@dataclass(frozen=True)
class Ask:
    group: int | None  # of a shared prefix
    body: dict[str, Any]


def workload(rng: random.Random) -> list[Ask]:
    """Half with one of a few long prefixes, half with none in common; short and long answers."""
    words = ["review", "critic", "comedy", "error", "play", "verse", "scene", "stage"]
    prefixes = [" ".join(rng.choices(words, k=400)) for _ in range(GROUPS)]
    asked = []
    for number in range(REQUESTS):
        group = rng.randrange(GROUPS) if rng.random() < 0.5 else None
        start = " ".join(rng.choices(words, k=40)) if group is None else prefixes[group]
        tokens = rng.choice((1, 2, 4, 40))
        asked.append(Ask(group, completion(prompt=f"{start} {number}", max_tokens=tokens, ignore_eos=True)))
    return asked


async def drive(url: str, asked: list[Ask]) -> list[tuple[int, str]]:
    """(status, pod) of each request, `CONCURRENCY` at a time, in the order of `asked`."""
    answers: dict[int, tuple[int, str]] = {}
    numbers = iter(range(len(asked)))
    limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:

        async def work() -> None:
            for number in numbers:
                answer = await client.post(url, json=asked[number].body)
                assert answer.status_code == 200, (answer.status_code, answer.text, dict(answer.headers))
                answers[number] = answer.status_code, answer.headers.get("x-inference-pod", "")

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return [answers[number] for number in range(len(asked))]


@dataclass(frozen=True)
class Routed:
    """How 2 000 requests were routed."""

    seconds: float
    spread: list[float]  # share of each pod, the largest first
    loyal: float  # share of the requests with a shared prefix that went to its group's most used pod
    hits: float  # of the prompt tokens, those that the pods had cached


def route(lab: Lab) -> Routed:
    asked = workload(random.Random(7))
    begin = time.monotonic()
    answers = asyncio.run(drive(lab.url + "/v1/completions", asked))
    seconds = time.monotonic() - begin
    assert {status for status, _ in answers} == {200}
    pods = collections.Counter(pod for _, pod in answers)
    assert sum(pods.values()) == REQUESTS
    by_group: dict[int, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for ask, (_, pod) in zip(asked, answers, strict=True):
        if ask.group is not None:
            by_group[ask.group][pod] += 1
    shared = sum(c.total() for c in by_group.values())
    loyal = sum(c.most_common(1)[0][1] for c in by_group.values()) / shared
    hits = [pod["prefix_cache_hit_rate"] or 0.0 for pod in lab.pods]
    return Routed(seconds, [n / REQUESTS for _, n in pods.most_common()], loyal, sum(hits) / len(hits))


def test_two_thousand_requests(labs: Labs, epp: Binary, figure: Figure) -> None:
    """Beside the reference picker on a fleet of its own: the same requests are routed alike."""
    uneven = ("--inter-token-latency", "2ms", "--max-num-seqs", "8")
    found = {}
    for name, picker in (("real", str(epp.path)), ("reference", "reference")):
        made = labs.up("-f", manifests(labs, *uneven), "--epp", picker, name=f"{name}{len(epp.flags)}")
        found[name] = route(made)
        made.down()
    for name, routed in found.items():
        shares = ", ".join(f"{share:.0%}" for share in routed.spread)
        figure(
            f"{REQUESTS} requests, {name}: {routed.seconds:.1f} s, pods {shares}, {routed.loyal:.0%} of "
            f"shared prefixes at their group's pod, {routed.hits:.0%} of prompt tokens cached"
        )
    real, reference = found["real"], found["reference"]
    assert real.spread[-1] > 0.15
    assert real.loyal == pytest.approx(reference.loyal, abs=0.15)
    assert real.hits == pytest.approx(reference.hits, abs=0.1)


def test_its_death_leaves_the_failure_mode(lab: Lab, http: httpx.Client) -> None:
    url = lab.url + "/v1/completions"
    os.kill(lab.picker["pid"], signal.SIGKILL)
    until(lambda: lab.picker["state"] == "dead")
    until(lambda: http.post(url, json=completion()).status_code == 500, 10.0, "FailClose")
    assert {http.post(url, json=completion()).status_code for _ in range(10)} == {500}
    assert "was ended by SIGKILL: FailClose rules" in lab.text
    lab.ask("restart", name=lab.picker["name"])
    assert "x-went-into-resp-headers" in http.post(url, json=completion()).headers


def test_a_configuration_that_it_refuses_ends_up_with_its_words(labs: Labs, epp: Binary) -> None:
    text = Path(preset()[0]).read_text().replace("- type: queue-scorer", "- type: queue-scourer")
    made = labs.start("-f", labs.manifests(text, "bad.yaml"), "--epp", str(epp.path), name="refused")
    assert made.process.wait(30) == 1
    assert "before it was ready" in made.text
    assert "queue-scourer" in made.text
