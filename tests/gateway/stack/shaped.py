"""Manifests in the shapes of the field's projects (shapes/), and what `up` makes of each.

A file begins with what it is and with a line that says what must come of it. `python -m
tests.gateway.stack.shaped` writes those lines anew, where a change is meant; docs/generate.py shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.lint import lint
from gateway.lint.finding import Severity
from gateway.manifests.load import load
from gateway.stack.plan import Plan, make_plan

FOLDER = Path(__file__).parent / "shapes"


@dataclass(frozen=True)
class Shape:
    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def what(self) -> str:
        return self._line(0)

    @property
    def expected(self) -> str:
        return self._line(1)

    def _line(self, number: int) -> str:
        return self.path.read_text().splitlines()[number].removeprefix("# ")

    def plan(self) -> Plan:
        return make_plan(load([str(self.path)]))

    def made(self) -> str:
        """What runs, what is told and what is refused, in one line."""
        manifests = load([str(self.path)])
        plan = make_plan(manifests)
        pods: dict[str, int] = {}
        for server in plan.servers:
            owner = server.workload.resource.made_by or server.workload.resource
            pods[str(owner)] = pods.get(str(owner), 0) + server.replicas
        runs = [f"{number} x {name}" for name, number in pods.items()]
        runs += [f"picker {p.workload.name}" for p in plan.pickers]
        runs += [f"Gateway {g.name}" for g in plan.gateways]
        runs += [f"HPA {hpa.name}" for hpa, _ in plan.autoscalers]
        parts = [f"runs {', '.join(runs)}" if runs else "nothing runs"]
        parts += sorted({f"{u.why}: {u.object}" for u in plan.unread})
        errors = {f.rule.id for f in lint(manifests) if f.rule.severity is Severity.ERROR}
        parts += [f"lint: {', '.join(sorted(errors))}"] if errors else []
        return "; ".join(parts)


def shapes() -> list[Shape]:
    return [Shape(path) for path in sorted(FOLDER.glob("*.yaml"))]


def main() -> None:
    for shape in shapes():
        first, *rest = shape.path.read_text().splitlines(keepends=True)
        kept = rest[1:] if rest[0].startswith("# ") else rest
        shape.path.write_text("".join([first, f"# {shape.made()}\n", *kept]))


if __name__ == "__main__":
    main()
