"""`simfleet lint`: a page's or a chart's mistakes, before traffic finds them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gateway.errors import GatewayError, UsageError
from gateway.lint import deadflags, pickers, pools, routes
from gateway.lint.finding import Finding, Severity
from gateway.lint.output import FORMATS
from gateway.lint.plan import check as check_plan
from gateway.lint.schema import check_schemas, load_crds
from gateway.manifests.load import Manifests, load
from gateway.stack.plan import make_plan
from kit.console import complain, show

CHECKS = (pools.check, pickers.check, routes.check, deadflags.check)


def lint(manifests: Manifests, crds: str | None = None) -> list[Finding]:
    """Every finding, errors first. `crds` is a folder of CRDs. Raises UsageError for a folder without any."""
    found = [finding for check in CHECKS for finding in check(manifests)]
    found += check_plan(make_plan(manifests), {f.rule.id for f in found})
    if crds:
        found += check_schemas(manifests, load_crds(crds))
    return sorted(dict.fromkeys(found), key=lambda f: f.sort_key)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="simfleet lint",
        description="Check the manifests of an inference gateway against each other. Exit 1 on errors.",
    )
    p.add_argument("manifests", nargs="*", metavar="FILE|DIR|-", help="what to check")
    p.add_argument("-f", "--filename", action="append", default=[], help="the same, as kubectl takes it")
    p.add_argument("-n", "--namespace", default="default", help="namespace of objects that name none")
    p.add_argument(
        "--crds", metavar="DIR", help="also check custom resources against the CRDs in this folder"
    )
    p.add_argument("--format", choices=sorted(FORMATS), default="text", help="text, json, sarif or github")
    p.add_argument("--strict", action="store_true", help="exit 1 on warnings too")
    return p


def run(argv: Sequence[str]) -> int:
    """The command: 0 nothing wrong, 1 findings that count, 2 manifests or flags that cannot be used.

    UsageError when none is named.
    """
    args = parser().parse_args(argv)
    try:
        if not (sources := [*args.manifests, *args.filename]):
            raise UsageError("name the manifests: simfleet lint FILE|DIR|- ...")
        findings = lint(load(sources, args.namespace), args.crds)
    except GatewayError as error:
        complain(f"simfleet lint: {error}")
        return 2
    show(FORMATS[args.format](findings))
    counts = [Severity.ERROR, Severity.WARNING] if args.strict else [Severity.ERROR]
    return 1 if any(f.rule.severity in counts for f in findings) else 0
