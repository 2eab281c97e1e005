"""`simfleet replay`: a recorded or generated workload through engines in virtual time."""

from __future__ import annotations

from simulator.replay.replay_command import add_arguments, run

__all__ = ["add_arguments", "run"]
