"""Manifests in the shapes of the field: what up makes of each, and that lint says the same as up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.commands.up import preset
from gateway.errors import ManifestError
from gateway.lint import lint
from gateway.manifests.load import Manifests, load
from gateway.stack.pickers.process import PickerOptions
from gateway.stack.plan import Plan, make_plan
from gateway.stack.stack import Stack, StackOptions
from tests.gateway.stack.shaped import Shape, shapes
from tests.gateway.stack.test_stack import get

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared"
PAGE = [str(SHARED / "page" / f"{name}.yaml") for name in ("model-server", "endpoint-picker")]
TOLD = {"not-simulated", "not-read", "not-run", "gateway-class"}
SETS = {
    **{shape.name: [str(shape.path)] for shape in shapes()},
    "preset": preset(),
    "deploy": [str(ROOT / "deploy" / "page" / "base")],
    "page": PAGE,
    **{f"case {path.stem}": [str(path)] for path in sorted((SHARED / "cases" / "manifests").glob("*.yaml"))},
    **{
        f"page with {path.stem}": [*PAGE, str(path)]
        for path in sorted((SHARED / "cases" / "manifests").glob("*.yaml"))
        if path.stem != "other-class"  # stands in for the page's own Gateway
    },
}  # fmt: skip


def test_there_are_forty() -> None:
    assert len(shapes()) >= 40


@pytest.mark.parametrize("shape", shapes(), ids=lambda s: s.name)
def test_what_comes_of_a_shape(shape: Shape) -> None:
    assert shape.made() == shape.expected


def read(name: str) -> Manifests:
    if not all(Path(source).exists() for source in SETS[name]):
        pytest.skip("the shared folder is not beside the repository")
    return load(SETS[name])


async def refusal(plan: Plan, directory: Path) -> str | None:
    """Why `up` refuses the pods of a plan; None where all of them start and answer."""
    plan = replace(plan, gateways=[], pickers=[])
    options = StackOptions(directory, PickerOptions("reference"))
    try:
        async with Stack(plan, options, lambda _: None) as stack:
            assert [await get(pod, "/v1/models") for pod in stack.pods] == [200] * len(stack.pods)
    except ManifestError as error:
        return error.message
    return None


@pytest.mark.parametrize("name", SETS)
def test_lint_and_up_agree(name: str, tmp_path: Path) -> None:
    manifests = read(name)
    plan = make_plan(manifests)
    findings = lint(manifests)
    told = {(f.line, f.consequence) for f in findings if f.rule.id in TOLD}
    assert told == {(u.resource.line_of(*u.path), u.consequence) for u in plan.unread}
    refused = [f.message for f in findings if f.rule.id == "up-refuses"]
    assert [m for m in [asyncio.run(refusal(plan, tmp_path))] if m] == refused[:1]
    said = {f.message for f in findings}
    of_containers = [note for note in plan.notes if ", container " in note or "routing sidecar" in note]
    assert set(of_containers) <= said  # the stack has added them as it started
    if plan.notes:
        assert findings  # what up remarks on is not nothing


def test_a_file_of_unknown_kinds_is_not_nothing() -> None:
    for name in ("kserve-llmisvc", "dynamo", "production-stack-operator"):
        assert lint(read(name))
