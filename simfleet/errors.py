"""What `import simfleet` raises on purpose.

RuntimeError
└── CommandError   a command ended badly: which, with what exit code, and what it said
"""

from __future__ import annotations

from collections.abc import Sequence


class CommandError(RuntimeError):
    """A command ended badly. command: its arguments; code: its exit code; output: the end of what it said."""

    def __init__(self, command: Sequence[str], code: int, output: str) -> None:
        self.command = tuple(command)
        self.code = code
        self.output = output
        super().__init__(f"{' '.join(command)} ended with {code}: {output.strip() or 'it said nothing'}")
