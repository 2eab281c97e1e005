"""The one error tree of the simulator.

SimfleetError
├── ConfigError          a flag, file or value that cannot be used; exit code 2
├── EngineError          the engine was asked for something it cannot do
│   └── InvariantError   check_invariants() found the engine's state broken: a bug
├── FleetError           a replica that cannot be started, found or stopped
└── ApiError             (server/errors.py) an answer other than 200, with the words of the imitated server
"""

from __future__ import annotations


class SimfleetError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(SimfleetError):
    """A flag, file or value that cannot be used; says what, where and what would be right."""


class EngineError(SimfleetError):
    """The engine was asked for something it cannot do."""


class InvariantError(EngineError):
    """The state of an engine contradicts itself; always a bug of the engine."""


class FleetError(SimfleetError):
    """A replica that cannot be started, found or stopped."""
