"""`simfleet ps`, and the table of pods that it shares with the live table.

A table fits 80 columns: what all names begin with stands above it once, and the last column gives way.
`--wide` shows names whole, and more.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.errors import ControlError
from gateway.stack.socket import ask
from gateway.stack.statedir import find_stack, running_stacks
from gateway.why.names import common_prefix, short_names
from kit.console import complain, say
from kit.printable import cell, one_line

Json = dict[str, Any]
STYLES = {"ready": "green", "killed": "red", "drained": "yellow", "draining": "yellow", "starting": "cyan"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `ps`."""
    help_ = (
        "a table, everything as JSON, the address of the first gateway only, or a configuration with which "
        "Prometheus scrapes it all"
    )
    parser.add_argument(
        "--format", choices=("table", "json", "url", "prometheus"), default="table", help=help_
    )
    parser.add_argument("--wide", "-w", action="store_true", help="whole names, and more columns")


def ps(arguments: argparse.Namespace) -> int:
    """The exit code. ControlError when the stack that is named does not answer."""
    reports = _reports(arguments.stack or os.environ.get("SIMFLEET_STACK"))
    if arguments.format == "json":
        say(json.dumps({"stacks": reports}, indent=2))
    elif arguments.format == "url":
        if not (url := next((r["url"] for r in reports if r["url"]), None)):
            raise ControlError("no stack with a gateway is running; start one with `simfleet up`")
        say(url)
    elif arguments.format == "prometheus":
        say(yaml.safe_dump(prometheus_config(reports), sort_keys=False))
    elif not reports:
        say("no stack is running; start one with `simfleet up`")
    for report in reports if arguments.format == "table" else ():
        _show(report, wide=arguments.wide)
    return 0


def _reports(named: str | None) -> list[Json]:
    reports = []
    for stack in [find_stack(named)] if named else list(running_stacks()):
        try:
            if stack.socket.exists():
                reports.append(ask(stack.socket, "status", timeout_s=5.0))
        except ControlError as error:
            if named:
                raise
            complain(
                f"{stack.name} (pid {stack.holder()}): {error}; `simfleet down --name {stack.name}` ends it"
            )
    return reports


def _control(plane: Json) -> str:
    """Who translates manifests for the gateways."""
    if plane["kind"] == "istiod":
        return f"istiod {plane['binary']}, pid {plane['pid']}, {plane['debug_url']}"
    return f"simfleet's own translation, that of Istio {plane['istio']}"


def prometheus_config(reports: Sequence[Json], interval: str = "1s") -> Json:
    """A configuration of Prometheus for these stacks; labels are those that a PodMonitor would give."""
    jobs: dict[str, list[Json]] = {"vllm": [], "picker": [], "gateway": []}
    for report in reports:
        for pod in report["pods"]:
            jobs["vllm"].append(_scraped(pod, *pod["metrics_urls"]))
        for picker in report["pickers"]:
            jobs["picker"].append(_scraped(picker, picker["metrics_url"]))
        for gateway in report["gateways"]:
            jobs["gateway"].append(_scraped(gateway, gateway["admin_url"]))
    paths = {"gateway": "/stats/prometheus"}
    scraped = [
        {"job_name": job, "metrics_path": paths.get(job, "/metrics"), "static_configs": targets}
        for job, targets in jobs.items()
    ]
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "scrape_configs": scraped,
    }


def _scraped(what: Json, *urls: str) -> Json:
    labels = {"namespace": what["namespace"], "pod": what["name"]}
    return {"targets": [urlsplit(url).netloc for url in urls], "labels": labels}


def _show(report: Json, *, wide: bool) -> None:
    say(f"{report['name']}  pid {report['pid']}  up {report['uptime_s']:.0f} s")
    if report["gateways"]:
        say(f"  control  {_control(report['control_plane'])}")
    for gateway in report["gateways"]:
        urls = ", ".join(f"{x['port']} at {x['url']}" for x in gateway["listeners"])
        say(f"  gateway  {gateway['namespace']}/{gateway['name']}  {urls}  (admin {gateway['admin_url']})")
    for picker in report["pickers"]:
        say(f"  picker   {picker['name']}  {picker['kind']}, {picker['state']}, {picker['metrics_url']}")
        if picker["kube_api_url"]:
            say(f"           kubectl --server {picker['kube_api_url']} get pods,inferencepools -A")
    if report["pods"]:
        if not wide and (prefix := common_prefix(pod["name"] for pod in report["pods"])):
            say(f"  pods are {prefix}...")
        # a pipe gets whole cells whatever the width of a terminal that is not there
        console = Console(width=400) if wide else Console()
        console.print(pods_table(report["pods"], wide=wide))
    for line in _others(report):
        say(line)


def _others(report: Json) -> Iterator[str]:
    """Autoscalers, and what of the manifests has no part in the lab."""
    for hpa in report.get("autoscalers", ()):
        held = f", {hpa['problem']}" if hpa["problem"] else ""
        bounds = f"{hpa['min_replicas']} to {hpa['max_replicas']}"
        yield f"  hpa      {hpa['name']}  {hpa['target']}  {hpa['current_replicas']} pods of {bounds}{held}"
    for found in report.get("not_simulated", ()):
        place = f"{found['namespace']}/{found['name']}".lstrip("/")
        name = " ".join(filter(None, (found["kind"], place, found["field"])))
        yield f"  {found['why']}: {name}: {found['consequence']}"


def pods_table(
    pods: Sequence[Json],
    served: Mapping[str, float] | None = None,
    picked: Mapping[str, float] | None = None,
    *,
    wide: bool = False,
) -> Table:
    """One row a pod; with `served` and `picked`, requests a second by host:port, two columns of rates."""
    names = {p["name"]: p["name"] for p in pods} if wide else short_names(p["name"] for p in pods)
    rates = [] if served is None else [served, picked or {}]
    table = Table(box=None, pad_edge=False, padding=(0, 2 if wide else 1, 0, 0), expand=False)
    numbers = ["run", "wait", "KV %", "hit %"] + (["req/s", "picks/s"] if rates else [])
    more = ["pool", "requests", "tokens", "models"] if wide else []
    for name in ("pod", "address", "state", *numbers, *more, "adapters"):
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True)
    for pod in pods:
        table.add_row(*_cells(pod, names[pod["name"]], rates, wide=wide))
    return table


def _cells(pod: Json, name: str, rates: Sequence[Mapping[str, float]], *, wide: bool) -> list[Text]:
    places = [f"{pod['address']}:{port}" for port in pod["ports"]]
    adapters = pod.get("adapters", ())
    texts = [*_load(pod), *(f"{sum(rate.get(place, 0.0) for place in places):.1f}" for rate in rates)]
    if wide:
        counts = (pod.get("requests", ""), pod.get("generated_tokens", ""))
        texts += [pod["pool"] or "", *map(str, counts), " ".join(pod["models"])]
    texts.append(" ".join(adapters) if wide else _some(adapters))
    others = f" +{len(places) - 1}" if len(places) > 1 else ""
    address = places[0] + others if places else ""
    state = cell(pod["state"], STYLES.get(pod["state"], ""))
    return [cell(name), cell(address), state, *(cell(text) for text in texts)]


def _some(adapters: Sequence[str]) -> str:
    """The first of them, and how many more there are; the table cuts it where there is no room."""
    return f"{adapters[0]} +{len(adapters) - 1}" if len(adapters) > 1 else "".join(adapters)


def _load(pod: Json) -> list[str]:
    """What a pod has to do; empty for one that does not run."""
    hit = pod.get("prefix_cache_hit_rate")
    return [
        str(pod.get("running", "")),
        str(pod.get("waiting", "")),
        f"{100 * pod['kv_cache_usage']:.1f}" if "kv_cache_usage" in pod else "",
        f"{100 * hit:.0f}" if hit is not None else "",
    ]


def heading(report: Json) -> str:
    """The line above the live table: the stack, where it listens, and what its pods' names begin with."""
    prefix = common_prefix(pod["name"] for pod in report["pods"])
    parts = (report["name"], report["url"] or "", f"pods {prefix}..." if prefix else "")
    return one_line("  ".join(filter(None, parts)))
