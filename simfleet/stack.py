"""A running stack: Envoy, pickers and simulated model servers from manifests, as `simfleet up` runs them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from simfleet.errors import CommandError
from simfleet.process import SIMFLEET, call, flags

_UP_SECONDS = 120.0
_CONTROL_SECONDS = 60.0
_NO_STACK = "no stack"


@dataclass(frozen=True, slots=True)
class Pod:
    """One model server of a stack, as `simfleet ps --format json` lists it."""

    name: str
    namespace: str
    workload: str
    address: str
    url: str
    state: str
    models: tuple[str, ...]


class Stack:
    """`simfleet up` as a context manager.

    manifests: files or directories, or YAML text (with a line break in it); without any the packaged preset.
    name: of the stack; a new one by default, so that several may run. epp: auto | reference | path of a
    picker. plugins: Python plugin files of the reference picker. Further keyword arguments are flags of
    `simfleet up`: `port=8080`, `decision_log="picks.jsonl"`.
    """

    def __init__(
        self,
        manifests: str | Path | Sequence[str | Path] | None = None,
        *,
        name: str | None = None,
        replicas: int | None = None,
        epp: str | Path | None = None,
        epp_config: str | Path | None = None,
        plugins: Sequence[str | Path] = (),
        **up: object,
    ) -> None:
        given = [manifests] if isinstance(manifests, str | Path) else list(manifests or ())
        self._text = "\n---\n".join(str(each) for each in given if _is_text(each)) or None
        self._files = [str(each) for each in given if not _is_text(each)]
        self.name = name or f"py-{uuid.uuid4().hex[:8]}"
        self._flags = flags(
            {"replicas": replicas, "epp": epp, "epp-config": epp_config, "plugin": list(plugins), **up}
        )
        self.output = ""
        """What `simfleet up` said."""

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Start it and wait until it is ready. Raises CommandError with what is wrong."""
        files = [part for file in self._files for part in ("-f", file)]
        if self._text is not None:
            files += ["-f", "-"]
        command = ["up", "--detach", "--name", self.name, *files, *self._flags]
        self.output = call(SIMFLEET, "simfleet", command, stdin=self._text, timeout=_UP_SECONDS).out

    def down(self) -> None:
        """End it; nothing happens where it does not run."""
        try:
            self._control("down")
        except CommandError as error:
            if _NO_STACK not in error.output:
                raise

    def _control(self, command: str, *arguments: str) -> str:
        every = [command, "--name", self.name, *arguments]
        return call(SIMFLEET, "simfleet", every, timeout=_CONTROL_SECONDS).out

    def ps(self) -> dict[str, Any]:
        """What `simfleet ps --format json` says of it. Raises CommandError where it does not run."""
        listed = json.loads(self._control("ps", "--format", "json"))
        found: dict[str, Any] = listed["stacks"][0]
        return found

    @property
    def url(self) -> str:
        """Address of the first gateway, http://127.0.0.1:PORT."""
        return str(self.ps()["url"])

    @property
    def pods(self) -> list[Pod]:
        """The model servers, ready or not."""
        return [
            Pod(
                name=row["name"],
                namespace=row["namespace"],
                workload=row["workload"],
                address=row["address"],
                url=row["urls"][0] if row["urls"] else "",
                state=row["state"],
                models=tuple(row["models"]),
            )
            for row in self.ps()["pods"]
        ]

    def scale(self, workload: str, replicas: int) -> None:
        """As `simfleet scale WORKLOAD N`."""
        self._control("scale", workload, str(replicas))

    def kill(self, pod: str) -> None:
        """End a replica at once, connections and all."""
        self._control("kill", pod)

    def restart(self, pod: str) -> None:
        """A fresh replica on the same address."""
        self._control("restart", pod)

    def drain(self, pod: str) -> None:
        """Readiness off, requests in flight finish, then the replica ends."""
        self._control("drain", pod)

    def logs(self, part: str) -> str:
        """What one part of the stack has written: a pod, a picker, a gateway."""
        return self._control("logs", part)


def _is_text(given: str | Path) -> bool:
    return isinstance(given, str) and "\n" in given
