"""What docs/security.md says of listeners, modes and keys is so; what it refers to is there."""

from __future__ import annotations

import argparse
import inspect
import ipaddress
import json
import re
import stat
from itertools import islice
from pathlib import Path

import pytest
import yaml

from gateway.commands.upflags import add_up_flags
from gateway.envoy.config import EnvoyOptions
from gateway.kubeapi.serve import KubeApi
from gateway.machine.ports import loopback_addresses
from gateway.picker.options import parse_options
from gateway.stack.owned import made
from gateway.stack.statedir import state_root
from loadgen.numbers.jsonl import PRIVATE, JsonlWriter, write_private
from loadgen.plan.plan import PlanHeader, write_plan
from simulator.config.resolve import parse_args
from simulator.errors import ConfigError
from simulator.fleet.arguments import split
from simulator.server.http.auth import GUARDED

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
MODEL = ["--model", "m"]


def row(start: str) -> str:
    """The row of the page's tables that begins with these words."""
    return next(line for line in PAGE.splitlines() if line.startswith(f"| {start}"))


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


# --- what listens where --------------------------------------------------------------------------


def test_servers_listen_on_loopback_by_default() -> None:
    config = parse_args(MODEL, {})
    assert f"{config.host}:{config.port}" in row("`simfleet serve`")
    assert is_loopback(config.host)
    fleet = split(["--replicas", "2", *MODEL])
    assert f"{fleet.address}:{config.port}" in row("`simfleet fleet`")
    assert is_loopback(fleet.address)


def test_nothing_else_listens_without_a_flag() -> None:
    config = parse_args(MODEL, {})
    assert config.control.port is None
    assert is_loopback(config.control.host)
    assert not config.kv_events.enabled
    assert config.kv_events.endpoint in row("KV events")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_a_control_port_beyond_loopback_needs_a_token(host: str) -> None:
    flags = [*MODEL, "--control-port", "9900", "--control-host", host]
    with pytest.raises(ConfigError, match="needs a --control-token"):
        parse_args(flags, {})
    assert parse_args([*flags, "--control-token", "t"], {}).control.token == "t"


def test_keys_guard_the_paths_that_the_page_names() -> None:
    said = row("`simfleet serve`")
    assert all(path in said for path in GUARDED)
    assert len(re.findall(r"/v1, /v2, /inference and /cohere", said)) == 1
    assert len(GUARDED) == 4


def test_a_stack_listens_on_loopback_by_default() -> None:
    parser = argparse.ArgumentParser()
    add_up_flags(parser)
    assert is_loopback(parser.get_default("host"))
    assert is_loopback(EnvoyOptions.__dataclass_fields__["host"].default)
    assert all(map(is_loopback, islice(loopback_addresses(), 1000)))
    assert is_loopback(inspect.signature(KubeApi).parameters["host"].default)


def test_the_picker_listens_on_loopback_by_default() -> None:
    options = parse_options(["--pool-name", "p"], {})
    said = row("the reference picker")
    assert is_loopback(options.bind_address)
    assert options.secure_serving
    for port in (options.grpc_port, options.grpc_health_port, options.metrics_port):
        assert str(port) in said


def test_the_image_listens_everywhere_as_a_number() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert '"--host", "0.0.0.0"' in text
    assert "USER 65532:65532" in text
    assert "65532" in row("the image")
    assert "0.0.0.0:8000" in row("the image")


# --- what is written, with which modes -----------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_a_run_records_is_0600(tmp_path: Path) -> None:
    assert f"{PRIVATE:o}" == "600"
    assert "0600" in row("a run: plan")
    JsonlWriter(tmp_path / "lines").close()
    write_private(tmp_path / "whole", b"x")
    write_plan(tmp_path / "plan", [PlanHeader()])
    assert {path.name: f"{mode(path):o}" for path in tmp_path.iterdir()} == dict.fromkeys(
        ("lines", "whole", "plan"), "600"
    )


def test_a_file_that_others_could_read_is_theirs_no_more(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    path.write_text("{}")
    path.chmod(0o644)
    write_private(path, b"[]")
    assert (path.read_bytes(), mode(path)) == (b"[]", 0o600)


def test_a_stacks_directory_is_its_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with made(tmp_path / "stack"):
        pass
    assert f"{mode(tmp_path / 'stack'):o}" == "700"
    assert "0700" in row("a stack: socket")
    monkeypatch.delenv("SIMFLEET_STATE_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert f"{mode(state_root()):o}" == "700"
    assert "$XDG_RUNTIME_DIR/simfleet" in row("a stack: socket")


# --- what the pages refer to ---------------------------------------------------------------------


def test_every_flag_and_variable_of_the_page_is_one() -> None:
    known = (ROOT / "docs/reference/flags.md").read_text()
    rooms = ("gateway", "loadgen", "simulator", "kit")
    known += "".join(path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py"))
    named = set(re.findall(r"`(--[a-z][a-z-]+)", PAGE)) | set(re.findall(r"`\$?([A-Z][A-Z_]{5,})", PAGE))
    assert len(named) > 12
    assert [name for name in sorted(named) if name.lstrip("-") not in known] == []


def test_the_policy_says_how_to_report_and_to_verify() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert "/security/advisories/new" in text
    assert all((ROOT / path).exists() for path in re.findall(r"\]\(((?:docs)/[\w./-]+)\)", text))
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    assert release["name"] in re.findall(r"workflows/(\w+)\.yml@refs/tags/v", text)
    scripts = json.dumps(release)
    assert ".sigstore.json" in scripts
    assert "packages.spdx.json" in scripts
