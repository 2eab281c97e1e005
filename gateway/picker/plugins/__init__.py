"""Filters, scorers and pickers, and the scheduler that runs them as a profile says.

What a plugin file of a user's own needs stands here: `scorer`, and `Candidate` for its types.
"""

from __future__ import annotations

from gateway.picker.plugins.base import scorer
from gateway.picker.pool.endpoints import Candidate

__all__ = ["Candidate", "scorer"]
