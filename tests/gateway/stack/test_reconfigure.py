"""Another configuration for a running picker, and the old one again where it does not start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import ControlError, StackError
from gateway.stack.reconfigure import picker_config, reconfigure, reconfiguring

GOOD = "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\nplugins: []\n"
CRASHES = GOOD + "# crashes\n"


class Stack:
    """A stack with one picker, which ends at once with a configuration that says so."""

    def __init__(self, directory: Path) -> None:
        process = SimpleNamespace(argv=("picker", f"--config-file={directory / 'mounted.yaml'}", "--v=1"))
        (directory / "mounted.yaml").write_text("as mounted")
        spec = SimpleNamespace(directory=directory / "own")
        plan = SimpleNamespace(container=SimpleNamespace(image=""))
        run = SimpleNamespace(process=process, spec=spec)
        self.handle: Any = SimpleNamespace(name="epp", process=run, plan=plan)
        self.pickers = self
        self.started: list[str] = []

    def __iter__(self) -> Any:
        return iter([self.handle])

    def find(self, name: str) -> Any:
        return self.handle if name == "epp" else None

    async def restart(self, _: str) -> str:
        text = picker_config(self, "epp")  # type: ignore[arg-type]
        self.started.append(text)
        if "crashes" in text:
            raise StackError("epp ended with status 1 before it was ready")
        return "picker epp restarted"


@pytest.fixture
def stack(tmp_path: Path) -> Any:
    return Stack(tmp_path)


def test_a_picker_gets_another_configuration_and_the_one_before_undoes_it(stack: Any) -> None:
    before = picker_config(stack, "epp")
    assert before == "as mounted"
    done = asyncio.run(reconfiguring(stack)(name="epp", text=GOOD))  # type: ignore[call-arg]
    assert done == "picker epp restarted with another configuration"
    assert stack.started == [GOOD]
    assert stack.handle.process.process.argv[:2] == ("picker", "--v=1")
    asyncio.run(reconfigure(stack, "epp", ""))
    assert picker_config(stack, "epp") == "", "its release's default"


def test_one_that_does_not_start_leaves_the_picker_as_it_was(stack: Any) -> None:
    asyncio.run(reconfigure(stack, "epp", GOOD))
    with pytest.raises(ControlError, match="runs as before: epp ended with status 1"):
        asyncio.run(reconfigure(stack, "epp", CRASHES))
    assert stack.started == [GOOD, CRASHES, GOOD]


def test_what_cannot_be_read_is_not_even_tried(stack: Any) -> None:
    for bad, why in (
        ("kind: Pod", "apiVersion"),
        (": [", "left as it is"),
        ("x" * (1 << 20) + "yz", "bytes"),
    ):
        with pytest.raises(ControlError, match=why):
            asyncio.run(reconfigure(stack, "epp", bad))
    with pytest.raises(ControlError, match="picker 'other' does not exist; there are: epp"):
        asyncio.run(reconfigure(stack, "other", GOOD))
    assert stack.started == []
