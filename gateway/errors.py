"""The one error tree of the gateway package.

GatewayError
├── ManifestError     a manifest that cannot be read or contradicts itself; carries file and line; exit code 2
│   └── ContainerError  a container that cannot be run here; the rest of the stack goes on without it
├── ScriptError       a container's script that cannot be read; carries its line, becomes a ContainerError
│   └── BadArithmeticError  what a shell cannot reckon: a condition is false then, a command with it fails
├── UsageError        flags or names on the command line that cannot be used; exit code 2
├── StackError        a stack that cannot start, or that ended because a part of it died; exit code 1
│   └── ProcessError  one child: did not start, was not ready in time, died
├── SimulateError     a simulation that cannot be made or cannot go on; exit code 1
│   └── UndoneError   one request asks for what a simulation does not do
├── ControlError      a running stack could not be asked, or refused what it was asked; exit code 1
└── PickerError       (picker/errors.py, with the branches below it)

Beside it, for those who answer at once in a protocol: ExpiredError and BadSelectorError (kubeapi/store.py),
BadQueryError (kubeapi/query.py), ApiError and below it UndecodableError (cluster/objects/errors.py); and
NoMetricError (autoscale/compute.py), which the loop catches.
Of a script that is followed: UnknownNumberError and BadTestError (containers/expand/arithmetic.py and
conditions.py).
"""

from __future__ import annotations

from kit.errors import DocumentError


class GatewayError(Exception):
    """Base of every error that this package raises on purpose; `exit_code` is the command's."""

    exit_code = 1


class ManifestError(GatewayError, DocumentError):
    """A manifest that cannot be used: what is wrong, where, what would be right."""

    exit_code = 2


class ContainerError(ManifestError):
    """A container that cannot be run here; the rest of the stack goes on without it."""


class ScriptError(GatewayError):
    """A shell script of a container that cannot be read, or whose server cannot be known; `line` from 1."""

    exit_code = 2

    def __init__(self, message: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(message if line is None else f"line {line}: {message}")


class BadArithmeticError(ScriptError):
    """What a shell cannot reckon: a condition is false then, a command with it fails."""


class UsageError(GatewayError):
    """Flags or names on the command line that cannot be used."""

    exit_code = 2


class StackError(GatewayError):
    """A stack that cannot start, or that ended because a part of it died."""


class ProcessError(StackError):
    """One child process did not start, was not ready in time, or died; `log_tail` has its last lines."""

    def __init__(self, message: str, log_tail: str = "") -> None:
        self.log_tail = log_tail
        super().__init__(message + (f"\n{log_tail}" if log_tail else ""))


class ControlError(GatewayError):
    """A running stack could not be asked, or refused what it was asked."""


class SimulateError(GatewayError):
    """A simulation that cannot be made or cannot go on."""


class UndoneError(SimulateError):
    """One request asks for what a simulation does not do; the text says what."""
