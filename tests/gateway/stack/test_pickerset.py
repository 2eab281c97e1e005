"""The pickers of a stack, made and not started: their pools, ports, files, and what is reported."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ManifestError
from gateway.manifests.load import read
from gateway.stack.pickers.process import PickerOptions
from gateway.stack.plan import make_plan
from gateway.stack.report import status
from gateway.stack.stack import Stack, StackOptions
from kit.yamldoc import Document
from tests.e2e import worlds

SERVERS, POOL = worlds.servers("x", 2), worlds.pool("p", "x", "epp")


def made(directory: Path, *objects: Any, check: Callable[[Stack, list[str]], None], **options: Any) -> None:
    """`check` sees the stack of these objects with its pickers made, and what it reported."""
    flat = [o for item in objects for o in (item if isinstance(item, list) else [item])]

    async def scenario() -> None:
        said: list[str] = []
        manifests = read((Document("m.yaml", i, each, ManifestError) for i, each in enumerate(flat)), "apps")
        settings = StackOptions(directory, PickerOptions("reference", **options))
        stack = Stack(make_plan(manifests), settings, said.append)
        stack.pickers.make()
        check(stack, said)

    asyncio.run(scenario())


def flag(stack: Stack, name: str, index: int = 0) -> str:
    argv = list(stack.pickers)[index].process.process.argv
    return next(a for a in argv if a.startswith(f"--{name}=")).partition("=")[2]


def test_a_picker_is_told_of_its_pool_and_of_mounted_files(tmp_path: Path) -> None:
    def check(stack: Stack, said: list[str]) -> None:
        (handle,) = stack.pickers
        assert said == []
        assert handle.pool is stack.plan.manifests.pools["apps", "p"]
        assert (flag(stack, "pool-name"), flag(stack, "pool-namespace")) == ("p", "apps")
        config = Path(flag(stack, "config-file"))
        assert config.is_relative_to(tmp_path / "pickers" / handle.name)
        assert config.read_text() == worlds.FOLLOW_HEADER
        assert stack.pickers.find("epp") is stack.pickers.find(handle.name) is handle
        assert stack.pickers.find("other") is None
        assert (len(stack.pickers), handle.failure_mode) == (1, "FailClose")

    made(tmp_path, SERVERS, POOL, worlds.picker("epp", "p"), check=check)


def test_a_picker_of_a_pool_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    def check(stack: Stack, said: list[str]) -> None:
        (handle,) = stack.pickers
        assert handle.pool is None
        told = "Deployment apps/epp is told of pool apps/other, which does not exist"
        assert said == [f"note: {told}: it will know no endpoints"]
        stack.pickers.update(stack.pods)
        assert json.loads(Path(flag(stack, "endpoints-file")).read_text()) == {"endpoints": []}

    made(tmp_path, SERVERS, POOL, worlds.picker("epp", "other"), check=check)


def test_ports_of_a_picker_on_this_machine(tmp_path: Path) -> None:
    """The gRPC port is where the flag puts it; a Service port that leads elsewhere refuses."""

    def check(stack: Stack, said: list[str]) -> None:
        (handle,) = stack.pickers
        process = handle.process
        assert handle.local_port(9005) == process.grpc_port
        assert handle.local_port(9003) == process.health_port
        assert handle.local_port(9090) == process.metrics_port
        assert handle.local_port(9002) == handle.local_port(None) == handle.closed_port
        assert len({process.grpc_port, process.health_port, process.metrics_port, handle.closed_port}) == 4
        service = stack.plan.manifests.services["apps", "epp"]
        assert stack.pickers.behind(service, service.ports[0]) == [], "nothing runs"

    made(tmp_path, SERVERS, POOL, worlds.picker("epp", "p", args=["--grpc-port=9005"]), check=check)


def test_each_of_several_pickers_has_a_decision_log_of_its_own(tmp_path: Path) -> None:
    def check(stack: Stack, said: list[str]) -> None:
        logs = [flag(stack, "decision-log", i) for i in range(2)]
        assert logs == [str(tmp_path / "d-p.jsonl"), str(tmp_path / "d-q.jsonl")]

    others = [worlds.servers("y"), worlds.pool("q", "y", "qpp"), *worlds.picker("qpp", "q")]
    log = tmp_path / "d.jsonl"
    made(tmp_path, SERVERS, POOL, worlds.picker("epp", "p"), others, check=check, decision_log=log)


def test_what_the_manifests_let_a_picker_write_stays_with_the_stack(tmp_path: Path) -> None:
    def check(stack: Stack, said: list[str]) -> None:
        log = Path(flag(stack, "decision-log"))
        assert log.is_relative_to(tmp_path / "pickers")
        assert log.parts[-3:] == ("var", "log", "d.jsonl")

    args = ["--decision-log", "/../var/log/d.jsonl"]
    made(tmp_path, SERVERS, POOL, worlds.picker("epp", "p", args=args), check=check)


@pytest.mark.parametrize("name", ["cert-path", "plugin"])
def test_what_a_picker_reads_is_mounted(tmp_path: Path, name: str) -> None:
    args = [f"--{name}", "/etc"]
    with pytest.raises(ManifestError, match=rf"m\.yaml:\d+: .*--{name} /etc, which no mounted ConfigMap"):
        made(tmp_path, SERVERS, POOL, worlds.picker("epp", "p", args=args), check=lambda *_: None)


def test_the_report_of_a_stack_that_does_not_run_yet(tmp_path: Path) -> None:
    def check(stack: Stack, said: list[str]) -> None:
        found = status(stack, "lab", 0.0)
        assert json.loads(json.dumps(found)) == found
        assert (found["name"], found["url"], found["gateways"], found["pods"]) == ("lab", None, [], [])
        (pool,) = found["pools"]
        (picker,) = found["pickers"]
        assert (pool["picker"], pool["endpoints"], pool["failure_mode"]) == (picker["name"], [], "FailClose")
        assert (picker["state"], picker["pid"], picker["tls"], picker["pool"]) == ("dead", None, True, "p")
        own = stack.options.directory / "pickers" / picker["name"]
        assert picker["decision_log"] == str(own / "decisions.jsonl")
        assert found["notes"] == stack.plan.notes

    made(tmp_path, SERVERS, POOL, worlds.picker("epp", "p"), check=check)
