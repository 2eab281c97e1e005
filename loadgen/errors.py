"""The one error tree of the load generator; each leaf is an exit code 2 with its own words.

LoadgenError
├── ScenarioError     a scenario, flag or plan that cannot be used; names file and line
│   ├── TraceError    a trace file that is not in the format it should be in; names file and line
│   └── ExpectError   (numbers/expect.py) an expectation that cannot be read; names the character
├── TargetError       the target cannot be reached, is not ready, or does not know the model
├── RunError          the run itself could not be done or kept (disk full)
│   └── WorkerError   a worker died or failed in the middle of it: what was recorded is there
└── RecordError       a run directory whose files cannot be read

Beside it: DimensionError (numbers/quantity.py), a ValueError of arithmetic that ExpectError puts into words.
"""

from __future__ import annotations

from kit.errors import DocumentError


class LoadgenError(Exception):
    """Base of every error that this package raises on purpose."""


class ScenarioError(LoadgenError, DocumentError):
    """A scenario, flag or plan that cannot be used; says what, where and what would be right."""


class TraceError(ScenarioError):
    """A trace file that is not in the format it should be in."""


class TargetError(LoadgenError):
    """The target cannot be reached, is not ready, or does not know the model."""


class RunError(LoadgenError):
    """The run itself could not be done or kept."""


class WorkerError(RunError):
    """A worker died or failed in the middle of the run; what was recorded is there to be reported."""


class RecordError(LoadgenError):
    """A run directory whose files cannot be read."""
