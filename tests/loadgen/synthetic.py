"""Run directories without a run: a small fleet of queues in virtual time, in the files of `loadgen run`.

Each pod serves `slots` requests at once; a prompt whose group the pod has seen is prefilled faster. All comes
from one seed. The policy decides the pod: `round-robin`, `prefix`, `one` (all to the first) or `random`.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from loadgen.numbers.jsonl import JsonlWriter
from loadgen.plan.plan import ClassPlan, PlanHeader, PlanLine, PlannedRequest, SharedText, write_plan
from loadgen.records.records import Record, RecordsHeader, write_records
from loadgen.records.rundir import (
    EVENTS,
    PLAN,
    SCENARIO,
    SCRAPES,
    Ceiling,
    EventLine,
    Meta,
    ScrapeLine,
    write_meta,
)

T0 = 1_800_000_000.0
BLOCK = 16
PREFIX_WORDS = 64
OWN_WORDS = 32


@dataclass
class Fleet:
    """What to run; defaults make a run of 600 requests that anybody would trust."""

    policy: str = "prefix"
    pods: int = 4
    requests: int = 600
    rate: float = 60.0
    groups: int = 12
    adapters: Sequence[str] = ()
    classes: Sequence[str] = ("chat",)
    seed: int = 1
    slots: int = 4
    noise: float = 0.0
    shed_above: int | None = None
    kill: tuple[int, float] | None = None
    """(pod, time): it answers nothing from then on."""
    expect: Sequence[str] = ()
    late: float = 0.0001
    scrape_every: float = 0.5
    slo: dict[str, float] = field(default_factory=lambda: {"ttft": 0.3, "tpot": 0.02})


def write_run(path: Path, fleet: Fleet) -> Path:
    """Simulate `fleet` and write its run directory at `path`."""
    path.mkdir(parents=True, exist_ok=True)
    simulation = _Simulation(fleet)
    records = simulation.run()
    scenario = _scenario(fleet)
    (path / SCENARIO).write_text(scenario)
    write_plan(path / PLAN, _plan(fleet, records, scenario))
    write_records(path / "records.jsonl", RecordsHeader(t0=T0, t0_monotonic=100.0), records)
    _lines(path / SCRAPES, simulation.scrapes)
    if fleet.kill:
        _lines(
            path / EVENTS, [EventLine(t=fleet.kill[1], name=f"kill sim-{fleet.kill[0]}", did="true", exit=0)]
        )
    write_meta(path, _meta(fleet, records))
    return path


def _lines(path: Path, lines: Sequence[object]) -> None:
    path.unlink(missing_ok=True)
    writer = JsonlWriter(path)
    for line in lines:
        writer.write(line)
    writer.close()


def _scenario(fleet: Fleet) -> str:
    document = {
        "name": f"synthetic {fleet.policy}",
        "description": "A fleet of queues in virtual time",
        "seed": fleet.seed,
        "slo": fleet.slo,
        "classes": [
            {
                "name": name,
                "model": "sim",
                "arrival": {
                    "process": "poisson",
                    "rate": fleet.rate / len(fleet.classes),
                    "duration": fleet.requests / fleet.rate,
                },
                "input_tokens": PREFIX_WORDS + OWN_WORDS,
                "output_tokens": 16,
            }
            for name in fleet.classes
        ],
        "expect": list(fleet.expect),
    }
    return msgspec.yaml.encode(document).decode()


def _plan(fleet: Fleet, records: Sequence[Record], scenario: str) -> Iterator[PlanLine]:
    yield PlanHeader(
        scenario=f"synthetic {fleet.policy}",
        seed=fleet.seed,
        span=records[-1].intended,
        classes={name: ClassPlan(process="poisson") for name in fleet.classes},
        yaml=scenario,
    )
    for group in range(fleet.groups):
        yield SharedText(text=group, value=f"group{group:03d} " * PREFIX_WORDS)
    for index, record in enumerate(records):
        group = int((record.group or "0").removeprefix("g"))
        own = " ".join(f"q{index}w{word}" for word in range(OWN_WORDS))
        yield PlannedRequest(
            slot=index,
            id=record.id,
            cls=record.cls,
            at=record.intended,
            model=record.model,
            group=record.group,
            body=[f'{{"model":"{record.model}","prompt":"', group, own, '"}'],
        )


def _meta(fleet: Fleet, records: Sequence[Record]) -> Meta:
    duration = max(record.end or record.intended for record in records)
    return Meta(
        status="finished",
        scenario=f"synthetic {fleet.policy}",
        seed=fleet.seed,
        target="http://127.0.0.1:8080",
        command=["loadgen", "run", "synthetic.yaml"],
        host="here",
        versions={"python": "3.11"},
        planned=len(records),
        t0=T0,
        t0_monotonic=100.0,
        span=records[-1].intended,
        duration=duration,
        models=["sim", *fleet.adapters],
        ceiling=Ceiling(rate=15_000, cpu=0.00006, total=15_000, asked=fleet.rate, share=fleet.rate / 15_000),
    )


class _Simulation:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.rng = random.Random(fleet.seed)
        self.noise = random.Random(fleet.seed * 7919 + int(fleet.noise * 1e6))
        self.free: list[list[float]] = [[0.0] * fleet.slots for _ in range(fleet.pods)]
        self.flying: list[list[tuple[float, float]]] = [[] for _ in range(fleet.pods)]
        self.known: list[set[str]] = [set() for _ in range(fleet.pods)]
        self.counts = [dict.fromkeys(("succeeded", "hits", "queries"), 0) for _ in range(fleet.pods)]
        self.history: list[tuple[float, int, dict[str, int], str | None]] = []
        self.scrapes: list[ScrapeLine] = []
        self.turn = 0

    def run(self) -> list[Record]:
        at, records = 0.0, []
        for index in range(self.fleet.requests):
            at += self.rng.expovariate(self.fleet.rate)
            records.append(self.request(index, at))
        self.scrape(records)
        return records

    def pick(self, group: str, now: float) -> int:
        gone, since = self.fleet.kill or (-1, 0.0)
        alive = [pod for pod in range(self.fleet.pods) if pod != gone or now <= since + 0.2]
        self.turn += 1
        match self.fleet.policy:
            case "one":
                return alive[0]
            case "random":
                return self.noise.choice(alive)
            case "prefix":
                load = {pod: sum(end > now for _, end in self.flying[pod][-60:]) for pod in alive}
                knowing = [
                    pod for pod in alive if group in self.known[pod] and load[pod] < 2 * self.fleet.slots
                ]
                return min(knowing or alive, key=lambda pod: (load[pod], pod))
        return alive[self.turn % len(alive)]

    def request(self, index: int, at: float) -> Record:
        fleet = self.fleet
        group = f"g{min(int(self.rng.paretovariate(0.9)) - 1, fleet.groups - 1)}"
        adapter = self.rng.choice(list(fleet.adapters)) if fleet.adapters else None
        cls = fleet.classes[index % len(fleet.classes)]
        start = at + fleet.late * self.noise.random()
        pod = self.pick(f"{group}{adapter}", start)
        base = Record(
            id=f"r{index:05d}",
            cls=cls,
            intended=at,
            start=start,
            connected=start,
            model=adapter or "sim",
            adapter=adapter,
            group=group,
            max_tokens=16,
            reused=index > 20,
            bytes_out=700,
        )
        queue = sum(begin > start for begin, _ in self.flying[pod][-200:])
        if fleet.shed_above is not None and queue > fleet.shed_above:
            return msgspec.structs.replace(
                base,
                outcome="shed_429",
                status=429,
                first_byte=start + 0.002,
                end=start + 0.002,
                headers={"x-llm-d-request-dropped-reason": "rejected-saturated"},
            )
        if fleet.kill and pod == fleet.kill[0] and start > fleet.kill[1]:
            return msgspec.structs.replace(
                base, outcome="connect_error", error="connection refused", end=start + 0.001
            )
        return self.served(base, pod, f"{group}{adapter}", start)

    def served(self, base: Record, pod: int, group: str, start: float) -> Record:
        begin = max(start, heapq.heappop(self.free[pod]))
        cached = PREFIX_WORDS if group in self.known[pod] else 0
        self.known[pod].add(group)
        speed = 1 + self.fleet.noise * self.noise.random()
        tokens = PREFIX_WORDS + OWN_WORDS
        first = begin + (0.004 + 0.0009 * (tokens - cached)) * speed
        gaps = [0.006 * speed * (0.9 + 0.2 * self.noise.random()) for _ in range(15)]
        times = [first]
        for gap in gaps:
            times.append(times[-1] + gap)
        end = times[-1] + 0.0005
        heapq.heappush(self.free[pod], end)
        self.flying[pod].append((begin, end))
        self.counts[pod]["succeeded"] += 1
        self.counts[pod]["hits"] += cached
        self.counts[pod]["queries"] += tokens
        self.history.append((end, pod, dict(self.counts[pod]), base.adapter))
        return msgspec.structs.replace(
            base,
            outcome="ok",
            status=200,
            first_byte=first,
            first_token=first,
            last_token=times[-1],
            end=end,
            prompt_tokens=tokens,
            cached_tokens=cached,
            output_tokens=16,
            pod=f"sim-{pod}",
            port="8000",
            namespace="default",
            headers={"x-inference-pod": f"sim-{pod}"},
            chunk_times=times,
            bytes_in=2000,
        )

    def scrape(self, records: list[Record]) -> None:
        last = max(record.end or record.intended for record in records)
        every = self.fleet.scrape_every
        moments = [-0.2, *(k * every for k in range(int(last / every) + 1)), last + 0.1]
        for number, t in enumerate(moments):
            phase = "before" if number == 0 else "after" if number == len(moments) - 1 else "during"
            for pod in range(self.fleet.pods):
                gone = self.fleet.kill is not None and pod == self.fleet.kill[0] and t > self.fleet.kill[1]
                line = ScrapeLine(t=t, took=0.002, name=f"sim-{pod}", url=self.url(pod), phase=phase)
                if gone:
                    line.error = "refused"
                else:
                    line.samples = self.samples(pod, t, records)
                self.scrapes.append(line)

    @staticmethod
    def url(pod: int) -> str:
        return f"http://127.0.0.{pod + 2}:8000/metrics"

    def samples(self, pod: int, t: float, records: list[Record]) -> dict[str, float]:
        mine = [(end, counts, adapter) for end, p, counts, adapter in self.history if p == pod and end <= t]
        counts = mine[-1][1] if mine else dict.fromkeys(("succeeded", "hits", "queries"), 0)
        here = [r for r in records if r.pod == f"sim-{pod}" and (r.start or 0) <= t < (r.end or 0)]
        running = min(len(here), self.fleet.slots)
        label = '{model_name="sim"}'
        samples = {
            f"vllm:num_requests_running{label}": float(running),
            f"vllm:num_requests_waiting{label}": float(len(here) - running),
            f"vllm:kv_cache_usage_perc{label}": min(1.0, 0.02 + 0.05 * len(here)),
            f"vllm:request_success_total{label}": float(counts["succeeded"]),
            f"vllm:prefix_cache_hits_total{label}": float(counts["hits"]),
            f"vllm:prefix_cache_queries_total{label}": float(counts["queries"]),
            f"vllm:num_preemptions_total{label}": 0.0,
            f'vllm:cache_config_info{{block_size="{BLOCK}",num_gpu_blocks="2048"}}': 1.0,
        }
        if self.fleet.adapters:
            names = ",".join(sorted({r.adapter for r in here if r.adapter}))
            labels = f'max_lora="2",running_lora_adapters="{names}",waiting_lora_adapters=""'
            samples[f"vllm:lora_requests_info{{{labels}}}"] = 1.0
        return samples
