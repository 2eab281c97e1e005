"""The directory of a simulated run: what `loadgen run` leaves, so that everything that reads one reads this.

Of /metrics the series are written that reports use. Times are the world's; meta.json says that the run is
simulated.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from gateway.errors import UsageError
from gateway.simulate.calls import Call, Job
from gateway.simulate.clock import wall_of
from gateway.simulate.feed import Feed
from gateway.simulate.replicas.ranks import Rank
from kit.prometheus import escape
from loadgen.errors import LoadgenError
from loadgen.numbers.jsonl import JsonlWriter, write_private
from loadgen.numbers.progress import Progress
from loadgen.records.records import Attempt, Record, RecordsHeader
from loadgen.records.rundir import (
    DECISIONS,
    EVENTS,
    PLAN,
    SCENARIO,
    SCRAPES,
    EventLine,
    Meta,
    ScrapeLine,
    new_run_dir,
    write_meta,
)

RUN = "simulated"  # the token under which requests name themselves to the picker


@dataclass(slots=True)
class About:
    """What meta.json says besides the figures."""

    target: str
    command: Sequence[str] = ()
    arm: str | None = None
    repeat: int | None = None
    how: dict[str, str] = field(default_factory=dict)  # of the simulation
    scenario: str | None = None  # its YAML


class RunDirectory:
    """Takes records, looks at pods and events as they come."""

    def __init__(self, feed: Feed, about: About, out: Path | None, t0: float) -> None:
        """UsageError where the directory holds a run already or cannot be made."""
        self._t0, self._feed = t0, feed
        try:
            self.path = new_run_dir(feed.name, out, feed.plan)
            if feed.plan is not None and feed.plan.resolve() != (self.path / PLAN).resolve():
                shutil.copyfile(feed.plan, self.path / PLAN)
            if about.scenario is not None:
                write_private(self.path / SCENARIO, about.scenario.encode())
            self._records = JsonlWriter(self.path / "records.jsonl")
            self._scrapes = JsonlWriter(self.path / SCRAPES)
            self._events = JsonlWriter(self.path / EVENTS)
        except (LoadgenError, OSError) as error:
            raise UsageError(str(error)) from error
        self._records.write(RecordsHeader(t0=wall_of(t0), t0_monotonic=t0))
        self.meta = Meta(
            status="running",
            scenario=feed.name,
            seed=feed.seed,
            target=about.target,
            arm=about.arm,
            repeat=about.repeat,
            command=list(about.command),
            host="simulated",
            versions={"simfleet": _version(), "python": sys.version.split()[0]},
            planned=feed.planned,
            t0=wall_of(t0),
            t0_monotonic=t0,
            span=feed.span,
            runs=[RUN],
            simulated=about.how or {"clock": "virtual"},
            warnings=list(feed.notes),
        )
        self._total = Progress()

    @property
    def decisions(self) -> Path:
        return self.path / DECISIONS

    def record(self, job: Job, call: Call) -> None:
        record = record_of(job, call, self._t0)
        self._records.write(record)
        total = self._total
        total.done += 1
        total.sent += 1
        total.attempts += len(job.tries)
        total.outcomes[record.outcome] = total.outcomes.get(record.outcome, 0) + 1
        if record.pod is not None:
            total.pods[record.pod] = total.pods.get(record.pod, 0) + 1
        total.time = max(total.time, record.end or 0.0)
        if record.outcome != "ok" and record.error:
            self.meta.first_errors.setdefault(record.outcome, f"{record.status or ''} {record.error}".strip())

    def skip(self, job: Job, why: str) -> None:
        """A request that was never due."""
        ask = job.ask
        self._records.write(
            Record(
                id=job.id,
                cls=ask.cls,
                stage=ask.stage,
                intended=round(job.intended - self._t0, 7),
                outcome="skipped",
                error=why,
                model=ask.model,
                adapter=ask.adapter,
                max_tokens=ask.max_tokens,
                group=ask.group,
                session=ask.session,
                turn=ask.turn,
            )
        )
        self._total.outcomes["skipped"] = self._total.outcomes.get("skipped", 0) + 1

    def look(self, ranks: Iterable[Rank], now: float, phase: str) -> None:
        """A line for each replica's /metrics as they are."""
        for rank in ranks:
            rank.advance(now)
            rank.requeue(rank)
            config = rank.asking.config
            self._scrapes.write(
                ScrapeLine(
                    t=round(now - self._t0, 6),
                    took=0.0,
                    name=rank.pod,
                    url=f"http://{rank.host_port}/metrics",
                    pod=rank.pod,
                    phase=phase,  # type: ignore[arg-type]
                    samples=samples(rank, escape(config.served_model_name)),
                )
            )

    def event(self, line: EventLine) -> None:
        self._events.write(line)

    def close(self, pools: dict[str, str], warnings: Iterable[str], status: str = "finished") -> Path:
        """meta.json last. UsageError where the disk is full."""
        meta = self.meta
        for writer in (self._records, self._scrapes, self._events):
            writer.close()
        meta.status = status  # type: ignore[assignment]
        meta.totals, meta.duration = self._total, self._total.time or None
        meta.pools = pools
        meta.warnings += warnings
        if self.decisions.is_file():
            meta.decision_log = str(self.decisions)
        try:
            write_meta(self.path, meta)
        except LoadgenError as error:
            raise UsageError(str(error)) from error
        return self.path


def record_of(job: Job, call: Call, t0: float) -> Record:
    """The record of a request whose last attempt was `call`."""
    ask, rules = job.ask, job.unit.rules
    streamed = rules.stream and call.outcome in ("ok", "client_cancel", "reset", "timeout")
    served_by = None if call.outcome == "gateway_503" else call.rank
    counted = call.outcome == "ok"
    first = _since(t0, call.first) if streamed else None
    return Record(
        id=job.id,
        cls=ask.cls,
        stage=ask.stage,
        intended=round(job.intended - t0, 7),
        start=_since(t0, job.tries[0].start),
        connected=_since(t0, call.start),
        first_byte=_since(t0, call.begun if streamed else call.end),
        first_token=first,
        first_content=first,
        last_token=_since(t0, call.last) if streamed else None,
        end=_since(t0, call.end),
        outcome=call.outcome,
        status=call.status,
        error=call.error,
        model=ask.model,
        adapter=ask.adapter,
        prompt_tokens=call.prompt_tokens if counted else None,
        cached_tokens=call.cached_tokens if counted and _shows_cached(job, call) else None,
        output_tokens=call.output_tokens if counted or streamed else None,
        max_tokens=ask.max_tokens,
        pod=served_by.pod if served_by is not None else None,
        port=served_by.host_port.rpartition(":")[2] if served_by is not None else None,
        headers=call.answered,
        group=ask.group,
        session=ask.session,
        turn=ask.turn,
        attempt=len(job.tries),
        attempts=[_attempt(each, t0) for each in job.tries] if len(job.tries) > 1 else [],
        reused=True,
        bytes_out=call.sent_bytes,
    )


def _shows_cached(job: Job, call: Call) -> bool:
    """Whether a client learns how much of its prompt was cached."""
    if job.ask.traced is not None:
        return True
    return call.rank is not None and call.rank.asking.config.enable_prompt_tokens_details


def _since(t0: float, moment: float | None) -> float | None:
    return None if moment is None else round(moment - t0, 7)


def _attempt(call: Call, t0: float) -> Attempt:
    return Attempt(
        start=round(call.start - t0, 7),
        connected=round(call.start - t0, 7),
        end=_since(t0, call.end),
        outcome=call.outcome,
        status=call.status,
        error=call.error,
        pod=call.rank.pod if call.rank is not None else None,
    )


def samples(rank: Rank, model: str) -> dict[str, float]:
    """The series that reports read of a model server, under its own names."""
    stats, config = rank.engine.stats, rank.asking.config
    labels = f'{{model_name="{model}"}}'
    found = {
        f"vllm:num_requests_running{labels}": float(stats.num_requests_running),
        f"vllm:num_requests_waiting{labels}": float(stats.num_requests_waiting),
        f"vllm:kv_cache_usage_perc{labels}": stats.kv_cache_usage,
        f"vllm:prefix_cache_queries_total{labels}": float(stats.prefix_cache_queries),
        f"vllm:prefix_cache_hits_total{labels}": float(stats.prefix_cache_hits),
        f"vllm:request_success_total{labels}": float(sum(stats.request_success.values())),
        f"vllm:num_preemptions_total{labels}": float(stats.num_preemptions),
        f"vllm:prompt_tokens_total{labels}": float(stats.prompt_tokens),
        f"vllm:generation_tokens_total{labels}": float(stats.generation_tokens),
    }
    for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds"):
        histogram = stats.histograms[name]
        found[f"vllm:{name}_sum{labels}"] = histogram.total
        found[f"vllm:{name}_count{labels}"] = float(histogram.count)
    engine = config.engine
    info = f'block_size="{engine.block_size}",num_gpu_blocks="{engine.num_gpu_blocks}"'
    found[f"vllm:cache_config_info{{{info}}}"] = 1.0
    if engine.enable_lora:
        running, waiting = ",".join(stats.lora_running), ",".join(stats.lora_waiting)
        adapters = f'running_lora_adapters="{escape(running)}",waiting_lora_adapters="{escape(waiting)}"'
        found[f'vllm:lora_requests_info{{max_lora="{engine.max_loras}",{adapters}}}'] = stats.lora_time or 0.0
    return found


def _version() -> str:
    try:
        return metadata.version("vllm-simfleet")
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
