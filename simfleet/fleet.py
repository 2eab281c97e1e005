"""Model servers alone, without a gateway: `simfleet fleet` as a context manager."""

from __future__ import annotations

import re
import subprocess
from collections import deque
from types import TracebackType
from typing import Self

from kit.children import python
from simfleet.errors import CommandError
from simfleet.process import SIMFLEET, flags

_READY = re.compile(r"\bready\b.*\baddress=(http://[\d.]+:\d+)")
_KEPT_LINES = 20
_END_SECONDS = 30.0


class Fleet:
    """Replicas of one model server, each on its own loopback address.

    model: its name. replicas: how many. Further keyword arguments are flags of `simfleet fleet`:
    `profile="llama-3.1-8b/h100"`, `time_to_first_token="50ms"`, `address="127.0.0.32"`, `port=8000`.
    """

    def __init__(self, model: str, *, replicas: int = 1, **serve: object) -> None:
        self._command = ["fleet", "--model", model, "--replicas", str(replicas), *flags(serve)]
        self._process: subprocess.Popen[str] | None = None
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._count = replicas
        self.url = ""
        """Address of the first replica; the others follow on the next addresses."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it is ready. Raises CommandError where it ends before."""
        command = [*python("-c", SIMFLEET), *self._command]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._process = process
        assert process.stdout is not None
        for line in process.stdout:
            self._said.append(line)
            if (ready := _READY.search(line)) is not None:
                self.url = ready[1]
                return
        process.communicate()
        code, self._process = process.returncode, None
        raise CommandError(["simfleet", *self._command], code, "".join(self._said))

    def stop(self) -> None:
        """End it; nothing happens where it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    @property
    def urls(self) -> list[str]:
        """Addresses of all replicas, where each has an address of its own."""
        scheme, _, rest = self.url.partition("//")
        host, _, port = rest.rpartition(":")
        head, _, last = host.rpartition(".")
        return [f"{scheme}//{head}.{int(last) + index}:{port}" for index in range(self._count)]
