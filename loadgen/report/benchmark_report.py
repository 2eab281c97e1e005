"""The llm-d Benchmark Report 0.2.1, the form that llm-d's tools exchange results in.

A report goes in, a document of plain values comes out; the field names and units are the
published schema's (llm-d-benchmark, benchmark_report/schema_v0_2*.py). Latencies here count from the actual
start, as the other tools that write this form count them, so that documents can be compared; those from the
intended start, which our own reports put first, stand under `results.observability.loadgen`.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import yaml

from kit.yamldoc import load_value
from loadgen.errors import ScenarioError
from loadgen.judge.report import Report
from loadgen.numbers.stats import PERCENTILES, Summary, percentile_key
from loadgen.score.scorecard import Scorecard

VERSION = "0.2.1"
TOOL = "vllm-simfleet-loadgen"
MODEL_SERVER = "model-server"
_KEYS = ("mean", "stddev", "min", *map(percentile_key, PERCENTILES), "max")
_LATENCIES = {
    "time_to_first_token": ("ttft_sent", "s"),
    "normalized_time_per_output_token": ("ntpot_sent", "s/token"),
    "time_per_output_token": ("tpot", "s/token"),
    "inter_token_latency": ("itl", "s/token"),
    "request_latency": ("e2e_sent", "s"),
}
_SCHEDULED = {
    "scheduled_time_to_first_token": ("ttft", "s"),
    "scheduled_normalized_time_per_output_token": ("ntpot", "s/token"),
    "scheduled_request_latency": ("e2e", "s"),
    "schedule_delay": ("lateness", "s"),
}
_RESOURCES = {"kv_cache_usage": "kv", "running_requests": "running", "waiting_requests": "waiting"}


def document(report: Report, experiment: str | None = None) -> dict[str, Any]:
    """The whole document; `experiment` is common to all runs of one comparison."""
    run = report.run
    start = datetime.fromtimestamp(run.t0, UTC)
    length = report.throughput.duration
    return {
        "version": VERSION,
        "run": {
            "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{run.dir}:{run.t0}")),
            "eid": experiment or str(uuid.uuid5(uuid.NAMESPACE_URL, run.scenario_text)),
            "time": {
                "start": start.isoformat(),
                "end": (start + timedelta(seconds=length)).isoformat(),
                "duration": f"PT{length:.3f}S",
            },
            "description": run.name,
            "keywords": ["routing", run.name],
        },
        "scenario": {"stack": [_model_server(report)], "load": _load(report)},
        "results": {
            "request_performance": {
                "aggregate": _aggregate(report),
                "time_series": _time_series(report, start),
            },
            **_sessions(report),
            "observability": _observability(report),
        },
    }


def dump(report: Report) -> str:
    """The document as YAML."""
    return yaml.safe_dump(document(report), sort_keys=False, allow_unicode=True, width=110)


def _statistics(summary: Summary, units: str) -> dict[str, Any]:
    return {"units": units, **{key: getattr(summary, key) for key in _KEYS}}


def _single(value: float, units: str) -> dict[str, Any]:
    return {"units": units, "mean": value}


def _model_server(report: Report) -> dict[str, Any]:
    run = report.run
    models = ", ".join(run.models) or "unknown"
    return {
        "metadata": {
            "label": MODEL_SERVER,
            "cfg_id": _digest(run.target),
            "description": "the target",
        },
        "standardized": {"kind": "generic", "tool": "vllm", "tool_version": "unknown", "model": models},
        "native": {"config": {"target": run.target, "pods": sorted(report.by.get("pod", {}))}},
    }


def _load(report: Report) -> dict[str, Any]:
    run, lengths = report.run, report.lengths
    standard: dict[str, Any] = {
        "tool": TOOL,
        "tool_version": run.version,
        "parallelism": max(1, run.workers),
        "source": "random",
        "stage": 0,
        "input_seq_len": _length(lengths.prompt_tokens) or {"distribution": "other", "value": 0},
    }
    if output := _length(lengths.output_tokens):
        standard["output_seq_len"] = output
    if report.throughput.requested_rate > 0:
        standard["rate_qps"] = report.throughput.requested_rate
    if report.sessions:
        standard["multi_turn"] = {"enabled": True}
    text = run.scenario_text
    return {
        "metadata": {"cfg_id": _digest(text or run.name), "description": run.name},
        "standardized": standard,
        "native": {
            "args": {"seed": run.seed},
            "config": load_value(text, "scenario.yaml", ScenarioError) if text else None,
        },
    }


def _length(summary: Summary | None) -> dict[str, Any] | None:
    if not summary:
        return None
    fixed = summary.min == summary.max
    return {
        "distribution": "fixed" if fixed else "other",
        "value": summary.mean,
        "std_dev": summary.stddev,
        "min": int(summary.min),
        "max": max(1, int(summary.max)),
    }


def _aggregate(report: Report) -> dict[str, Any]:
    groups, throughput, lengths = report.outcomes.groups, report.throughput, report.lengths
    requests: dict[str, Any] = {
        "total": report.outcomes.due - groups.missed,
        "failures": groups.error + groups.shed,
        "incomplete": groups.cancelled,
    }
    for field, found, units in (
        ("input_length", lengths.prompt_tokens, "count"),
        ("output_length", lengths.output_tokens, "count"),
        ("request_size", lengths.bytes_out, "bytes"),
    ):
        if found:
            requests[field] = _statistics(found, units)
    return {
        "requests": requests,
        "latency": _latencies(report, _LATENCIES),
        "throughput": {
            "input_token_rate": _single(throughput.prompt_tokens_rate, "tokens/s"),
            "output_token_rate": _single(throughput.output_tokens_rate, "tokens/s"),
            "total_token_rate": _single(throughput.total_tokens_rate, "tokens/s"),
            "request_rate": _single(throughput.ok_rate, "queries/s"),
        },
    }


def _latencies(report: Report, fields: dict[str, tuple[str, str]]) -> dict[str, Any]:
    given = report.latency.given()
    return {
        field: _statistics(given[name], units) for field, (name, units) in fields.items() if name in given
    }


def _time_series(report: Report, start: datetime) -> dict[str, Any]:
    timeline = report.timeline
    if not timeline:
        return {}
    edges = timeline.edges
    stamps = [(start + timedelta(seconds=edge)).isoformat() for edge in edges]
    quantiles = timeline.ttft_sent
    points = [
        {"ts": ts, "p50": p50, "p90": p90, "p99": p99}
        for ts, p50, p90, p99 in zip(stamps, quantiles.p50, quantiles.p90, quantiles.p99, strict=False)
        if p50 is not None
    ]
    width = edges[1] - edges[0]
    rates = [{"ts": ts, "value": n / width} for ts, n in zip(stamps, timeline.outcomes.ok, strict=False)]
    series: dict[str, Any] = {"throughput": {"request_rate": {"units": "queries/s", "series": rates}}}
    if points:
        series["latency"] = {"time_to_first_token": {"units": "s", "series": points}}
    return series


def _sessions(report: Report) -> dict[str, Any]:
    card = report.session_outcomes
    if not card:
        return {}
    return {
        "session_performance": {
            "sessions": {
                "total": card.total,
                "succeeded": card.succeeded,
                "failed": card.failed,
                "total_events": card.turns,
                "total_events_completed": card.turns_ok,
            }
        }
    }


def _observability(report: Report) -> dict[str, Any]:
    """Shares of sheds, the pods as components, and under `loadgen` our own latencies and cards."""
    out: dict[str, Any] = {"drop_rate": _single(report.outcomes.shares.shed, "fraction")}
    if components := _components(report):
        out["components"] = components
    cards = {name: getattr(report, name) for name in Scorecard.__struct_fields__}
    found = {name: msgspec.to_builtins(card) for name, card in cards.items() if card}
    out["loadgen"] = {**_latencies(report, _SCHEDULED), **found}
    return out


def _components(report: Report) -> list[dict[str, Any]]:
    hits, scraped = report.prefix.pods if report.prefix else {}, report.pod_gauges
    if scraped and not hits.keys() & scraped.keys():  # pages that nothing ties to the pods of the answers
        hits = {}
    out = []
    for pod in dict.fromkeys((*hits, *scraped)):
        gauges = scraped.get(pod)
        summaries = {field: getattr(gauges, name, None) for field, name in _RESOURCES.items()}
        resources = {
            field: _statistics(summary, "fraction" if field == "kv_cache_usage" else "count")
            for field, summary in summaries.items()
            if summary is not None
        }
        if pod in hits:
            resources["cache_hit_rate"] = _single(hits[pod].hit_share, "fraction")
        if gauges is not None and gauges.preempted is not None:
            resources["preemptions"] = _single(gauges.preempted, "count")
        out.append({"component_label": MODEL_SERVER, "replica_id": pod, "aggregate": resources})
    return out


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
