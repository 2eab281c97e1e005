"""Which picker a stack runs: a Go binary where one is named or found, else the reference picker."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gateway.errors import ManifestError, UsageError
from gateway.stack.pickers import goflags
from gateway.stack.pickers.go import make_external_picker
from gateway.stack.pickers.process import PickerProcess, PickerSpec
from gateway.stack.pickers.reference import ReferencePicker


def find_epp(epp: str) -> Path | None:
    """The binary to run, None for the reference picker. `auto`: EPP_BIN, then `epp` on the PATH.

    UsageError when it cannot run.
    """
    if epp == "reference":
        return None
    if epp == "auto":
        named = os.environ.get("EPP_BIN", "").split(os.pathsep)[0] or shutil.which("epp")
        if not named:
            return None
        epp = named
    path = Path(epp)
    if not path.is_file() or not os.access(path, os.X_OK):
        raise UsageError(f"--epp {epp}: not an executable file; give auto, reference or the path of a binary")
    return path


def make_picker(spec: PickerSpec) -> PickerProcess:
    """The picker that the options ask for."""
    check_config_file(spec)
    binary = find_epp(spec.options.epp)
    if binary is None:
        return ReferencePicker(spec)
    return make_external_picker(spec, binary)


def check_config_file(spec: PickerSpec) -> None:
    """A --config-file that no mounted ConfigMap has crashes the picker in a cluster: say so before.

    ManifestError or UsageError, by who named it.
    """
    if spec.options.config_file is not None:
        if not spec.options.config_file.is_file():
            raise UsageError(f"--epp-config {spec.options.config_file}: no such file")
        return
    named = goflags.value_of(spec.flags, "config-file")
    if named and not Path(named).is_file():
        raise ManifestError(
            f"the picker of {spec.pool} is given --config-file {named}, which no mounted ConfigMap has: "
            "check volumes, volumeMounts and the ConfigMap's key"
        )
