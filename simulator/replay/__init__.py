"""`simfleet replay`: a recorded or generated workload through engines in virtual time."""

from simulator.replay.replay_command import add_arguments, run

__all__ = ["add_arguments", "run"]
