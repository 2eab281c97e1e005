"""Flags that name files: what manifests mount is read, what only the image has gets a stand-in or is refused.

A pod has the files that are mounted or that its script writes, never those of this machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.containers.expand.values import Unknown, Value
from gateway.containers.mounts import relocate
from gateway.errors import ManifestError, ScriptError
from gateway.manifests.inside import inside, is_inside

_FILES = frozenset(
    ["config", "chat-template", "dataset-path", "ssl-keyfile", "ssl-certfile", "ssl-ca-certs", "tokenizer"]
)
# Flag of a file that the image alone has -> what stands in, for the note.
_STAND_INS = {
    "chat-template": "the simulator's own template stands in, so that prompts may count other tokens",
    "ssl-certfile": "a self-signed certificate stands in",
    "ssl-keyfile": "a self-signed certificate stands in",
    "ssl-ca-certs": "clients' certificates are not checked",
    "tokenizer": "the simulator's own tokenizer stands in, so that prompts may count other tokens",
}


@dataclass
class LocalFlags:
    """Flags whose files stand on this machine, and what is to be told of those that do not."""

    flags: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def local_flags(
    flags: Sequence[str], places: Mapping[str, Path], directory: Path, written: Mapping[str, Value]
) -> LocalFlags:
    """`flags` for this machine; `written` are files that the container's script writes.

    Raises ScriptError for a file without which nobody knows what the server would do.
    """
    found = LocalFlags()
    self_signed = False
    for name, words, value in _pairs(flags):
        if name == "uds":
            raise ScriptError("--uds: a gateway reaches a pod over TCP; leave it out")
        if name not in _FILES or value is None or not _is_path(name, value):
            found.flags += [relocate(word, places) for word in words]
            continue
        local = _written(value, written, directory) or relocate(value, places)
        if is_inside(directory, Path(local)) and Path(local).is_absolute():
            found.flags += [f"--{name}", local]
            continue
        if name not in _STAND_INS:
            raise ScriptError(
                f"--{name} {value} is a file of the image, not of these manifests: mount it by a ConfigMap"
            )
        self_signed |= name in {"ssl-certfile", "ssl-keyfile"}
        found.notes.append(f"--{name} {value} is a file of the image: {_STAND_INS[name]}")
    if self_signed:
        found.flags = _without_certificate(found.flags)
    return found


def _pairs(flags: Sequence[str]) -> Iterator[tuple[str, list[str], str | None]]:
    """Flags that name files with their words and value; all other words alone, without one."""
    rest = list(flags)
    while rest:
        word = rest.pop(0)
        stem, equals, attached = word.partition("=")
        name = stem.removeprefix("--").replace("_", "-") if word.startswith("--") else ""
        if name in _FILES and (equals or (rest and not rest[0].startswith("--"))):
            value = attached if equals else rest.pop(0)
            yield name, [word] if equals else [word, value], value
        else:
            yield name, [word], None


def _is_path(name: str, value: str) -> bool:
    if name == "chat-template":  # a template itself, or the name of one
        return not any(mark in value for mark in "{}\n")
    return name != "tokenizer" or value.startswith(("/", "./", "../", "~"))


def _written(path: str, written: Mapping[str, Value], directory: Path) -> str | None:
    """Where the file stands here that the script writes to `path`."""
    if (content := written.get(path)) is None:
        return None
    if isinstance(content, Unknown):
        raise ScriptError(f"the server reads {path}, whose text is not known: {content}")
    try:
        local = inside(directory, "written", *path.strip("/").split("/"))
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_text(content, encoding="utf-8")
    except (OSError, ValueError, ManifestError) as error:
        raise ScriptError(f"the script's file {path} cannot be written here: {error}") from error
    return str(local)


def _without_certificate(flags: Sequence[str]) -> list[str]:
    """A certificate whose other half is of the image goes with it."""
    found = []
    for name, words, _ in _pairs(flags):
        if name not in {"ssl-certfile", "ssl-keyfile"}:
            found += words
    return [*found, "--self-signed-certs"]
