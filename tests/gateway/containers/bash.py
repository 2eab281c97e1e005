"""bash with stand-ins on its PATH: what it passes to the server that a script starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SERVER = """#!/bin/sh
{ printf '%s\\0' "$(/usr/bin/basename "$0")" "$#" "$@"; /usr/bin/env -0; } > RECORD.$$
/bin/ln RECORD.$$ RECORD 2>/dev/null
exit 0
"""
_SKIP = """#!/bin/bash
while [[ $1 == -* ]]; do
  case $1 in --) shift; break ;; -N|-m) shift 2 ;; *) shift ;; esac
done
exec "$@"
"""
_SERVERS = ("vllm", "python3", "llm-d-inference-sim", "simfleet")


@dataclass(frozen=True)
class Started:
    """The words and the environment of a server as bash starts it."""

    words: tuple[str, ...]
    env: Mapping[str, str]


class Bash:
    """Scripts under bash; programs that are no servers end with `status`."""

    def __init__(self, directory: Path, status: int = 0) -> None:
        self._record = directory / "record"
        self._calls = directory / "calls"
        self._bin = directory / "bin"
        self.files = directory / "files"
        self.files.mkdir()
        self._bin.mkdir()
        for name in _SERVERS:
            self._program(name, _SERVER.replace("RECORD", str(self._record)))
        calls = f"echo >> {self._calls}\n[ $(/usr/bin/wc -l < {self._calls}) -lt 4 ] || status=0"
        self._program("curl", f"#!/bin/sh\nstatus={status}\n{calls}\nexit $status\n")
        for name in ("pip", "nvidia-smi"):
            self._program(name, f"#!/bin/sh\nexit {status}\n")
        self._program("sleep", "#!/bin/sh\nexit 0\n")
        self._program("tail", '#!/bin/sh\ncase $1 in -f) exit 0 ;; esac\nexec /usr/bin/tail "$@"\n')
        self._program("hostname", "#!/bin/sh\necho pod-12\n")
        for name in ("numactl", "tini"):
            self._program(name, _SKIP)

    def _program(self, name: str, text: str) -> None:
        path = self._bin / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, words: Sequence[str], env: Mapping[str, str]) -> Started | None:
        """The first server that `words` start, None where there is none. Ends within seconds."""
        self._record.unlink(missing_ok=True)
        self._calls.unlink(missing_ok=True)
        process = subprocess.Popen(
            # a loop without a server must not outlive a test that is killed
            ["/bin/sh", "-c", 'ulimit -t 10; exec /bin/bash "$@"', "sh", *words],
            env={**env, "PATH": f"{self._bin}:/usr/bin:/bin", "D": str(self.files)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.files,
            start_new_session=True,
        )
        deadline = time.monotonic() + 4
        while process.poll() is None and not self._record.exists():
            if time.monotonic() > deadline:
                break  # it goes on for ever without one
            time.sleep(0.001)  # a poll: nothing behind a server is of interest
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not self._record.exists():
            return None
        program, count, *rest = self._record.read_text().split("\0")
        args, pairs = rest[: int(count)], rest[int(count) :]
        return Started((program, *args), dict(p.split("=", 1) for p in pairs if "=" in p))
