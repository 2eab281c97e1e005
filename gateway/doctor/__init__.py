"""`simfleet doctor`: from a failing request, or a running stack, to the cause and the cure."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.control import ask
from gateway.doctor.causes import HEALTHY, Cause, diagnose
from gateway.doctor.evidence import Evidence, read_log
from gateway.doctor.probe import examine
from gateway.errors import GatewayError, UsageError
from gateway.statedir import find_stack


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="simfleet doctor",
        description="Name the cause of a failing request. Without arguments, send one through the running "
        "stack; with --log, read an access log; with --status, take what you know.",
        epilog="Exit 0: nothing is wrong; 1: a cause was found; 2: nothing to examine.",
    )
    p.add_argument("--name", dest="stack", help="name of the running stack")
    p.add_argument("--log", metavar="FILE|-", help="an access log of Envoy, one JSON object per line")
    p.add_argument("--status", type=int, help="HTTP status of the failing request")
    p.add_argument("--details", default="", help="RESPONSE_CODE_DETAILS of its access log line")
    p.add_argument("--flags", default="", help="RESPONSE_FLAGS of its access log line")
    p.add_argument("--body", default="", help="body of the answer")
    p.add_argument("--upstream-host", default="", help="UPSTREAM_HOST of its access log line")
    p.add_argument("--picked", default="", help="endpoint that the picker chose")
    p.add_argument("--format", choices=("text", "json"), default="text")
    return p


def run(argv: Sequence[str]) -> int:
    """The command's exit code."""
    args = parser().parse_args(argv)
    try:
        found = list(_gather(args))
    except GatewayError as error:
        sys.stderr.write(f"simfleet doctor: {error}\n")
        return 2
    if args.format == "json":
        sys.stdout.write(json.dumps([_plain(*f) for f in found], indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(_text(*f) for f in found))
    return 1 if any(cause is not HEALTHY for _, cause, _ in found) else 0


Finding = tuple[str, Cause, Evidence]


def _gather(args: argparse.Namespace) -> list[Finding]:
    if args.log:
        return _from_log(args.log)
    if args.status is not None or args.details or args.flags:
        evidence = Evidence(
            status=args.status or 0,
            body=args.body,
            details=args.details,
            flags=args.flags,
            upstream_host=args.upstream_host,
            picked=args.picked,
        )
        return [("the request", diagnose(evidence), evidence)]
    return _from_stack(args.stack)


def _from_stack(name: str | None) -> list[Finding]:
    report = ask(find_stack(name).socket, "status", timeout_s=10.0)
    found = []
    for gateway in report["gateways"]:
        evidence = examine(gateway)
        found.append((f"gateway {gateway['namespace']}/{gateway['name']}", diagnose(evidence), evidence))
    return found


def _from_log(source: str) -> list[Finding]:
    """One finding for each cause in the log, the most frequent first, with its last request."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(errors="replace")
    except OSError as error:
        raise UsageError(f"--log {source}: {error.strerror}") from error
    counts: Counter[str] = Counter()
    last: dict[str, tuple[Cause, Evidence]] = {}
    for evidence in read_log(text):
        cause = diagnose(evidence)
        counts[cause.id] += 1
        last[cause.id] = (cause, evidence)
    if not counts:
        raise UsageError(f"--log {source}: no JSON access log entries")
    return [(f"{n} of {counts.total()} requests", *last[cause]) for cause, n in counts.most_common()]


def _plain(subject: str, cause: Cause, evidence: Evidence) -> dict[str, Any]:
    return {
        "subject": subject,
        "cause": cause.id,
        "why": cause.cause,
        "cure": cause.cure,
        "evidence": {**vars_of(evidence), "headers": dict(evidence.headers)},
    }


def vars_of(evidence: Evidence) -> dict[str, Any]:
    return {name: getattr(evidence, name) for name in evidence.__dataclass_fields__}


def _text(subject: str, cause: Cause, evidence: Evidence) -> str:
    shown = {
        "status": evidence.status or "none",
        "flags": evidence.flags,
        "details": evidence.details,
        "picked": evidence.picked,
        "upstream host": evidence.upstream_host,
        "ext_proc streams": "" if evidence.picker_streams is None else str(evidence.picker_streams),
        "body": evidence.body[:200] if evidence.status >= 400 or not evidence.status else "",
    }
    lines = [f"{subject}: {cause.id}", *(f"  {k}: {v}" for k, v in shown.items() if v)]
    if cause is not HEALTHY:
        lines += [f"  cause: {cause.cause}", f"  cure: {cause.cure}"]
    return "\n".join(lines) + "\n"
