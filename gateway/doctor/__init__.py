"""`simfleet doctor`: from a failing request, or a running stack, to the cause and the cure."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.doctor.causes import HEALTHY, Cause, diagnose
from gateway.doctor.evidence import Evidence, read_log
from gateway.doctor.examine import examine, example_of, facts
from gateway.doctor.send import Request, read_headers
from gateway.errors import ControlError, GatewayError, UsageError
from gateway.stack.socket import ask
from gateway.stack.statedir import StackDirectory, find_stack, running_stacks
from kit.console import complain, say, show


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="simfleet doctor",
        description="Name the cause of a failing request. Without arguments, send one through each gateway "
        "of the running stack; with a URL, that request; with --log, read an access log; with --status, "
        "take what you know.",
        epilog="Exit 0: nothing is wrong; 1: a cause was found; 2: nothing to examine.",
    )
    p.add_argument("url", nargs="?", help="the request that fails: a URL, or a path of the stack's gateway")
    p.add_argument("-H", "--header", action="append", default=[], metavar="LINE", help="as curl has it")
    p.add_argument("-d", "--data", metavar="BODY", help="as curl has it")
    p.add_argument("-X", "--request", default="", metavar="METHOD", help="as curl has it")
    p.add_argument("-m", "--timeout", type=float, default=10.0, metavar="SECONDS", help="give up after that")
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
        found = _gather(args)
    except GatewayError as error:
        complain(f"simfleet doctor: {error}")
        return 2
    if args.format == "json":
        say(json.dumps([_plain(f) for f in found], indent=2))
    else:
        show("\n".join(_text(f) for f in found))
    return 1 if any(f.cause is not HEALTHY for f in found) else 0


@dataclass(frozen=True)
class Finding:
    """What was examined and what came out; `facts` are what the stack knows of itself."""

    subject: str
    cause: Cause
    evidence: Evidence
    facts: tuple[str, ...] = ()


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
        return [Finding("the request", diagnose(evidence), evidence)]
    if args.url:
        return [_of_request(args)]
    return _from_stack(args.stack, args.timeout)


def _from_stack(name: str | None, timeout_s: float) -> list[Finding]:
    """One finding for each gateway."""
    report = _report(find_stack(name))
    found = []
    for gateway in report["gateways"]:
        request = example_of(gateway, report["pods"])
        evidence = examine(request, timeout_s, gateway)
        subject = f"gateway {gateway['namespace']}/{gateway['name']}"
        found.append(_finding(subject, evidence, report))
    return found


def _report(directory: StackDirectory) -> dict[str, Any]:
    report: dict[str, Any] = ask(directory.socket, "status", timeout_s=10.0)
    return report


def _finding(subject: str, evidence: Evidence, report: dict[str, Any] | None) -> Finding:
    cause = diagnose(evidence)
    known = tuple(facts(report, evidence.cluster)) if report and cause is not HEALTHY else ()
    return Finding(subject, cause, evidence, known)


def _of_request(args: argparse.Namespace) -> Finding:
    """The request on the command line, with its access log line where it goes to a gateway that runs here."""
    url = args.url
    if url.startswith("/"):
        reports = [_report(find_stack(args.stack))]
        if not (base := reports[0]["url"]):
            raise ControlError(f"stack {reports[0]['name']} has no gateway that listens")
        url = base + url
    else:
        named = [d for d in running_stacks() if args.stack in (None, d.name)]
        reports = [_report(d) for d in named if d.socket.exists()]
        url = url if "://" in url else f"http://{url}"
    request = Request(url, read_headers(args.header), args.data, args.request)
    _, port = request.place
    for report in reports:
        for gateway in report["gateways"]:
            if port in {urlsplit(listener["url"]).port for listener in gateway["listeners"]}:
                evidence = examine(request, args.timeout, gateway)
                return _finding(args.url, evidence, report)
    return _finding(args.url, examine(request, args.timeout, None), None)


def _from_log(source: str) -> list[Finding]:
    """One finding for each cause in the log, the most frequent first, with its last request."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(errors="replace")
    except OSError as error:
        raise UsageError(f"--log {source}: {error.strerror}") from error
    counts: Counter[str] = Counter()
    last: dict[str, Evidence] = {}
    causes: dict[str, Cause] = {}
    for evidence in read_log(text):
        cause = diagnose(evidence)
        counts[cause.id] += 1
        last[cause.id], causes[cause.id] = evidence, cause
    if not counts:
        raise UsageError(f"--log {source}: no JSON access log entries")
    total = counts.total()
    return [Finding(f"{n} of {total} requests", causes[name], last[name]) for name, n in counts.most_common()]


def _plain(found: Finding) -> dict[str, Any]:
    return {
        "subject": found.subject,
        "cause": found.cause.id,
        "why": found.cause.cause,
        "cure": found.cause.cure,
        "page": found.cause.page,
        "evidence": asdict(found.evidence),
        "facts": list(found.facts),
    }


def _text(found: Finding) -> str:
    cause, evidence = found.cause, found.evidence
    shown = {
        "status": evidence.status or "none",
        "flags": evidence.flags,
        "details": evidence.details,
        "picked": evidence.picked,
        "upstream host": evidence.upstream_host,
        "ext_proc": evidence.ext_proc if evidence.picker_asked else "",
        "body": evidence.body[:200] if evidence.status >= 400 or not evidence.status else "",
    }
    lines = [f"{found.subject}: {cause.id}", *(f"  {k}: {v}" for k, v in shown.items() if v)]
    if cause is not HEALTHY:
        lines += [f"  cause: {cause.cause}", f"  cure: {cause.cure}", f"  more: {cause.page}"]
    lines += ["  the stack: " + fact.replace("\n", "\n    ") for fact in found.facts]
    return "\n".join(lines) + "\n"
