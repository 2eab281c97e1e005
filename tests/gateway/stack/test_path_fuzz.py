"""Manifests with hostile names, keys and paths: nothing is written or read outside of a stack's directory."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.envoy.process import GatewayOptions, GatewayProcess
from gateway.errors import GatewayError, ManifestError
from gateway.machine import ports
from gateway.manifests.inside import inside
from gateway.manifests.load import Manifests, load, read
from gateway.stack.pickers.process import PickerOptions
from gateway.stack.plan import make_plan
from gateway.stack.stack import Stack, StackOptions
from kit.yamldoc import Document
from tests.e2e import worlds

SECRET = "hunter2"
MANIFESTS = pytest.mark.parametrize("manifests", [200, pytest.param(2000, marks=pytest.mark.slow)])


def _object(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": worlds.meta(name)}


def world() -> list[dict[str, Any]]:
    """A gateway, two pools, a picker with mounts of every kind, a server with mounts and a Secret."""
    server = worlds.servers("x", 1, ["--chat-template", "/etc/chat/t.jinja"])
    pod = server["spec"]["template"]["spec"]
    pod["containers"][0]["volumeMounts"] = [
        {"name": "chat", "mountPath": "/etc/chat"},
        {"name": "keys", "mountPath": "/keys/one", "subPath": "sub/token"},
    ]
    pod["volumes"] = [
        {"name": "chat", "configMap": {"name": "chat", "items": [{"key": "t.jinja", "path": "t.jinja"}]}},
        {"name": "keys", "secret": {"secretName": "keys", "items": [{"key": "token", "path": "sub/token"}]}},
    ]
    chat = {**_object("ConfigMap", "chat"), "data": {"t.jinja": "{}"}}
    binary = {**_object("ConfigMap", "binary"), "binaryData": {"k": "YQ=="}}
    keys = {**_object("Secret", "keys"), "stringData": {"token": "t"}}
    args = ["--decision-log", "/var/log/decisions.jsonl"]
    return [
        *(server, chat, binary, keys, *worlds.picker("epp", "pool", args=args)),
        *(worlds.pool("pool", "x", "epp"), worlds.service("svc", "x", 80, 8000)),
        *(worlds.gateway("gw"), worlds.route("r", "gw", worlds.rule(worlds.to_pool("pool")))),
        worlds.route("s", "gw", worlds.rule(worlds.to_service("svc", 80))),
    ]


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every string and to every key of the contents of a ConfigMap or Secret."""
    if isinstance(value, dict):
        for key, item in value.items():
            if path and path[-1] in {"data", "binaryData", "stringData"}:
                yield (*path, key, "KEY")
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from places(item, (*path, i))
    elif isinstance(value, str) and path[-1] not in {"apiVersion", "kind"}:
        yield path


WORLD = json.dumps(world())
WAYS = [(i, way) for i, each in enumerate(world()) for way in places(each)]


def hostile(rng: random.Random, around: Path) -> str:
    """A text that would lead somewhere if it were taken for a path."""
    target = rng.choice(["victim.txt", "new.txt", "dir/new.txt", "dir", "link/victim.txt", ""])
    start = rng.choice([
        *("", ".", "..", "/", "//", f"{around}/", "../" * rng.randint(1, 9), "a/../../", "./../" * 3, "..\\"),
        *("/config/../" + "../" * 9 + f"{around}/", "x/" + "../" * 12 + str(around)[1:] + "/"),
        *(f"--{flag}={around}/" for flag in ("plugin", "config-file", "decision-log", "cert-path")),
        *(f"--{flag}={around}/" for flag in ("uds", "chat_template", "dataset-path", "ssl-keyfile")),
    ])  # fmt: skip
    end = rng.choice(["", "", "", "/", "/..", "\0", "\n", "/.", " ", "%2e%2e"])
    odd = ["x" * 300, "..data", "...", "é/../x", "A_B", "-x", "x" * 254]
    return rng.choice([start + target + end] * 6 + odd)


def mutated(rng: random.Random, around: Path) -> list[dict[str, Any]]:
    """The world with one to three texts of it made hostile; the same one in several places, now and then."""
    objects: list[dict[str, Any]] = json.loads(WORLD)
    text = hostile(rng, around)
    for i, way in rng.sample(WAYS, rng.randint(1, 3)):
        parent: Any = objects[i]
        is_key = way[-1] == "KEY"
        for key in way[: -2 if is_key else -1]:
            parent = parent[key]
        if not is_key:
            parent[way[-1]] = text
        elif way[-2] in parent:
            parent[text] = parent.pop(way[-2])
        if rng.random() < 0.5:
            text = hostile(rng, around)
    return objects


async def write_everything(manifests: Manifests, directory: Path) -> None:
    """All files that a stack writes before and after its processes start, without starting them."""
    true = Path(shutil.which("true") or "/bin/true")
    options = StackOptions(directory, PickerOptions("reference"), GatewayOptions(true))
    stack = Stack(make_plan(manifests), options, lambda _: None)
    for server in stack.plan.servers:
        stack._config(server, "pod-0", "127.0.0.2")
    stack.pickers.make()
    stack.pickers.update(stack.pods)
    for gateway in stack.plan.gateways:
        where = inside(directory / "gateways", f"{gateway.namespace}.{gateway.name}")
        GatewayProcess(manifests, gateway, where, options.gateway).publish(lambda _: [("127.0.0.2", 8000)])


def tree(root: Path, leave_out: Path) -> dict[str, bytes | None]:
    """Every path below `root`, with the contents of files."""
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if Path(folder, name) != leave_out]
        found |= {str(Path(folder, name)): None for name in folders}
        found |= {str(Path(folder, name)): Path(folder, name).read_bytes() for name in files}
    return found


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stack's directory lies (state/stack), with files beside and above it; we are in dir/."""
    for folder in (tmp_path, tmp_path / "state", tmp_path / "state" / "dir", tmp_path / "dir"):
        folder.mkdir(exist_ok=True)
        (folder / "victim.txt").write_text(SECRET)
    (tmp_path / "link").symlink_to("dir")
    monkeypatch.chdir(tmp_path / "dir")
    return tmp_path


@MANIFESTS
def test_nothing_is_written_or_read_outside(
    around: Path, monkeypatch: pytest.MonkeyPatch, manifests: int
) -> None:
    stack = around / "state" / "stack"
    before = tree(around, stack)
    refused = written = 0
    with asyncio.Runner() as runner:
        for seed in range(manifests):
            monkeypatch.setattr(ports, "_given", set())  # no process is started: ports can be given again
            objects = mutated(random.Random(seed), around)
            documents = [Document("m.yaml", i + 1, each, ManifestError) for i, each in enumerate(objects)]
            said = ""
            try:
                runner.run(write_everything(read(documents), stack))
                written += 1
            except GatewayError as error:
                said = str(error)
                refused += 1
            assert SECRET not in said, seed
            assert tree(around, stack) == before, f"seed {seed}"
    copied = [name for name, text in tree(stack, stack / "none").items() if SECRET.encode() in (text or b"")]
    assert not copied
    assert min(refused, written) > manifests / 10, (refused, written)


@MANIFESTS
def test_nothing_is_read_outside_of_a_kustomization(around: Path, manifests: int) -> None:
    app = around / "state" / "stack"
    fields: list[Any] = [
        lambda text: {"resources": ["own.yaml", text]},
        lambda text: {"resources": ["own.yaml"], "patches": [{"path": text}]},
        lambda text: {"resources": ["own.yaml"], "patchesStrategicMerge": [text]},
        lambda text: {"configMapGenerator": [{"name": "g", "files": [f"k={text}", text]}]},
        lambda text: {"secretGenerator": [{"name": "g", "files": [text]}]},
        lambda text: {"bases": [text]},
    ]
    app.mkdir()
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}, "data": {"a": "b"}}
    (app / "own.yaml").write_text(yaml.safe_dump(own))
    (app / "up").symlink_to("../..")
    (app / "victim.yaml").symlink_to("../victim.txt")
    before = tree(around, around / "none")
    for seed in range(manifests // 10):
        rng = random.Random(seed)
        text = rng.choice([hostile(rng, around), "up/victim.txt", "victim.yaml", "../victim.txt"])
        kustomization = app / "kustomization.yaml"
        kustomization.write_text(yaml.safe_dump(rng.choice(fields)(text)))
        try:
            found = str([r.root.value for r in load([str(app)]).resources])
        except ManifestError as error:
            found = str(error)
        assert SECRET not in found, seed
        kustomization.unlink()
        assert tree(around, around / "none") == before, seed
