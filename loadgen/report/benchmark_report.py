"""The llm-d Benchmark Report 0.2.1, the form that llm-d's tools exchange results in.

A report's dictionary goes in, a document of plain values comes out; the field names and units are the
published schema's (llm-d-benchmark, benchmark_report/schema_v0_2*.py). Latencies here count from the actual
start, as the other tools that write this form count them, so that documents can be compared; those from the
intended start, which our own reports put first, stand under `results.observability.loadgen`.
"""

import hashlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import yaml

from loadgen.numbers.stats import PERCENTILES, percentile_key

VERSION: Final = "0.2.1"
TOOL: Final = "vllm-simfleet-loadgen"
MODEL_SERVER: Final = "model-server"
_KEYS: Final = ("mean", "stddev", "min", *map(percentile_key, PERCENTILES), "max")
_LATENCIES: Final = {
    "time_to_first_token": ("ttft_sent", "s"),
    "normalized_time_per_output_token": ("ntpot_sent", "s/token"),
    "time_per_output_token": ("tpot", "s/token"),
    "inter_token_latency": ("itl", "s/token"),
    "request_latency": ("e2e_sent", "s"),
}
_SCHEDULED: Final = {
    "scheduled_time_to_first_token": ("ttft", "s"),
    "scheduled_normalized_time_per_output_token": ("ntpot", "s/token"),
    "scheduled_request_latency": ("e2e", "s"),
    "schedule_delay": ("lateness", "s"),
}
_RESOURCES: Final = {"kv_cache_usage": "kv", "running_requests": "running", "waiting_requests": "waiting"}


def document(report: Mapping[str, Any], experiment: str | None = None) -> dict[str, Any]:
    """The whole document; `experiment` is common to all runs of one comparison."""
    run = report["run"]
    start = datetime.fromtimestamp(run["t0"], UTC)
    length = report["throughput"]["duration"]
    tool_version = str(run.get("version", "unknown"))
    return {
        "version": VERSION,
        "run": {
            "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{run['dir']}:{run['t0']}")),
            "eid": experiment
            or str(uuid.uuid5(uuid.NAMESPACE_URL, str(run.get("scenario_text", run["name"])))),
            "time": {
                "start": start.isoformat(),
                "end": (start + timedelta(seconds=length)).isoformat(),
                "duration": f"PT{length:.3f}S",
            },
            "description": run["name"],
            "keywords": ["routing", run["name"]],
        },
        "scenario": {"stack": [_model_server(report)], "load": _load(report, tool_version)},
        "results": {
            "request_performance": {
                "aggregate": _aggregate(report),
                "time_series": _time_series(report, start),
            },
            **_sessions(report),
            "observability": _observability(report),
        },
    }


def dump(report: Mapping[str, Any]) -> str:
    """The document as YAML."""
    return yaml.safe_dump(document(report), sort_keys=False, allow_unicode=True, width=110)


def _statistics(summary: Mapping[str, Any], units: str) -> dict[str, Any]:
    return {"units": units, **{key: summary[key] for key in _KEYS if summary.get(key) is not None}}


def _single(value: float, units: str) -> dict[str, Any]:
    return {"units": units, "mean": value}


def _model_server(report: Mapping[str, Any]) -> dict[str, Any]:
    run = report["run"]
    models = ", ".join(run.get("models", [])) or "unknown"
    return {
        "metadata": {
            "label": MODEL_SERVER,
            "cfg_id": _digest(str(run.get("target"))),
            "description": "the target",
        },
        "standardized": {"kind": "generic", "tool": "vllm", "tool_version": "unknown", "model": models},
        "native": {"config": {"target": run.get("target"), "pods": sorted(report["by"].get("pod", {}))}},
    }


def _load(report: Mapping[str, Any], tool_version: str) -> dict[str, Any]:
    run, throughput = report["run"], report["throughput"]
    standard: dict[str, Any] = {
        "tool": TOOL,
        "tool_version": tool_version,
        "parallelism": max(1, run.get("workers", 1)),
        "source": "random",
        "stage": 0,
        "input_seq_len": _length(report["lengths"].get("prompt_tokens"))
        or {"distribution": "other", "value": 0},
    }
    if output := _length(report["lengths"].get("output_tokens")):
        standard["output_seq_len"] = output
    if throughput["requested_rate"] > 0:
        standard["rate_qps"] = throughput["requested_rate"]
    if report.get("sessions"):
        standard["multi_turn"] = {"enabled": True}
    text = str(run.get("scenario_text", ""))
    return {
        "metadata": {"cfg_id": _digest(text or run["name"]), "description": run["name"]},
        "standardized": standard,
        "native": {"args": {"seed": run.get("seed")}, "config": yaml.safe_load(text) if text else None},
    }


def _length(summary: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not summary:
        return None
    fixed = summary["min"] == summary["max"]
    return {
        "distribution": "fixed" if fixed else "other",
        "value": summary["mean"],
        "std_dev": summary["stddev"],
        "min": int(summary["min"]),
        "max": max(1, int(summary["max"])),
    }


def _aggregate(report: Mapping[str, Any]) -> dict[str, Any]:
    outcomes, throughput, lengths = report["outcomes"], report["throughput"], report["lengths"]
    groups = outcomes["groups"]
    requests: dict[str, Any] = {
        "total": outcomes["due"] - groups["missed"],
        "failures": groups["error"] + groups["shed"],
        "incomplete": groups["cancelled"],
    }
    for field, name in (("input_length", "prompt_tokens"), ("output_length", "output_tokens")):
        if lengths.get(name):
            requests[field] = _statistics(lengths[name], "count")
    if lengths.get("bytes_out"):
        requests["request_size"] = _statistics(lengths["bytes_out"], "bytes")
    return {
        "requests": requests,
        "latency": {
            field: _statistics(report["latency"][name], units)
            for field, (name, units) in _LATENCIES.items()
            if name in report["latency"]
        },
        "throughput": {
            "input_token_rate": _single(throughput["prompt_tokens_rate"], "tokens/s"),
            "output_token_rate": _single(throughput["output_tokens_rate"], "tokens/s"),
            "total_token_rate": _single(throughput["total_tokens_rate"], "tokens/s"),
            "request_rate": _single(throughput["ok_rate"], "queries/s"),
        },
    }


def _time_series(report: Mapping[str, Any], start: datetime) -> dict[str, Any]:
    timeline = report.get("timeline")
    if not timeline:
        return {}
    edges = timeline["edges"]
    stamps = [(start + timedelta(seconds=edge)).isoformat() for edge in edges]
    quantiles = timeline["ttft_sent"]
    points = [
        {"ts": ts, "p50": p50, "p90": p90, "p99": p99}
        for ts, p50, p90, p99 in zip(
            stamps, quantiles["p50"], quantiles["p90"], quantiles["p99"], strict=False
        )
        if p50 is not None
    ]
    width = edges[1] - edges[0]
    rates = [
        {"ts": ts, "value": n / width} for ts, n in zip(stamps, timeline["outcomes"]["ok"], strict=False)
    ]
    series: dict[str, Any] = {"throughput": {"request_rate": {"units": "queries/s", "series": rates}}}
    if points:
        series["latency"] = {"time_to_first_token": {"units": "s", "series": points}}
    return series


def _sessions(report: Mapping[str, Any]) -> dict[str, Any]:
    card = report.get("session_outcomes")
    if not card:
        return {}
    return {
        "session_performance": {
            "sessions": {
                "total": card["total"],
                "succeeded": card["succeeded"],
                "failed": card["failed"],
                "total_events": card["turns"],
                "total_events_completed": card["turns_ok"],
            }
        }
    }


def _observability(report: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"drop_rate": _single(report["outcomes"]["shares"]["shed"], "fraction")}
    components = []
    hits, scraped = (report.get("prefix") or {}).get("pods", {}), report.get("pod_gauges", {})
    if scraped and not hits.keys() & scraped.keys():  # pages that nothing ties to the pods of the answers
        hits = {}
    for pod, gauges in {**{pod: {} for pod in hits}, **scraped}.items():
        resources = {
            field: _statistics(gauges[name], "fraction" if name == "kv" else "count")
            for field, name in _RESOURCES.items()
            if name in gauges
        }
        if pod in hits:
            resources["cache_hit_rate"] = _single(hits[pod]["hit_share"], "fraction")
        if gauges.get("preempted") is not None:
            resources["preemptions"] = _single(gauges["preempted"], "count")
        components.append({"component_label": MODEL_SERVER, "replica_id": pod, "aggregate": resources})
    if components:
        out["components"] = components
    out["loadgen"] = {
        field: _statistics(report["latency"].get(name) or report["lengths"].get(name), units)
        for field, (name, units) in _SCHEDULED.items()
        if report["latency"].get(name) or report["lengths"].get(name)
    }
    for part in (
        "spread",
        "herding",
        "prefix",
        "lora",
        "sessions",
        "picks",
        "queue",
        "staleness",
        "recovery",
    ):
        if report.get(part):
            out["loadgen"][part] = report[part]
    return out


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
