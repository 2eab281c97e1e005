"""Which picker is run, and what is said of one that cannot be."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import ManifestError, UsageError
from gateway.stack.pickers.make import check_config_file, find_epp
from gateway.stack.pickers.process import PickerOptions, PickerSpec
from tests.gateway.stack.test_pods import spec as picker_spec


@pytest.fixture
def spec(tmp_path: Path) -> PickerSpec:
    return picker_spec(tmp_path)


def executable(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_path_is_the_binary_there(tmp_path: Path) -> None:
    assert find_epp("reference") is None
    assert find_epp(str(executable(tmp_path / "epp"))) == tmp_path / "epp"


@pytest.mark.parametrize("name", ["no-such-file", "", "plain", "."])
def test_a_path_that_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").touch(0o644)
    with pytest.raises(UsageError) as caught:
        find_epp(name)
    assert str(caught.value) == (
        f"--epp {name}: not an executable file; give auto, reference or the path of a binary"
    )


def test_auto_takes_the_environment_then_the_path_then_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, other = executable(tmp_path / "named"), executable(tmp_path / "other")
    on_path = executable(tmp_path / "bin" / "epp")
    monkeypatch.setenv("PATH", str(on_path.parent))
    monkeypatch.setenv("EPP_BIN", os.pathsep.join(map(str, (named, other))))
    assert find_epp("auto") == named
    monkeypatch.delenv("EPP_BIN")
    assert find_epp("auto") == on_path
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert find_epp("auto") is None


def test_a_configuration_of_the_user(tmp_path: Path, spec: PickerSpec) -> None:
    file = tmp_path / "config.yaml"
    given = replace(spec, options=PickerOptions("reference", config_file=file))
    with pytest.raises(UsageError, match=r"^--epp-config .*config\.yaml: no such file$"):
        check_config_file(given)
    file.write_bytes(b"kind: \xff\n")
    with pytest.raises(UsageError, match=r"^--epp-config .*config\.yaml cannot be read: 'utf-8' codec"):
        check_config_file(given)
    file.write_text("kind: EndpointPickerConfig\n")
    check_config_file(given)


def test_a_configuration_that_no_config_map_has(tmp_path: Path, spec: PickerSpec) -> None:
    named = replace(spec, flags=(*spec.flags, ("config-file", str(tmp_path / "plugins.yaml"))))
    with pytest.raises(ManifestError) as caught:
        check_config_file(named)
    assert f"is given --config-file {tmp_path / 'plugins.yaml'}, which no mounted ConfigMap has" in str(
        caught.value
    )
    (tmp_path / "plugins.yaml").touch()
    check_config_file(named)
