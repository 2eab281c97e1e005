"""A container as the command line of the simulator: its image, command, args, script, files and variables."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.containers import servers
from gateway.containers.environment import PodIdentity, environment, expand
from gateway.containers.expand.values import Unknown, Value
from gateway.containers.files import local_flags
from gateway.containers.images import entrypoint, vllm_version, with_compat
from gateway.containers.mounts import mount_files, mounted, relocate
from gateway.containers.shell.run import Start, World
from gateway.containers.shell.search import Search
from gateway.errors import ContainerError, ScriptError
from gateway.manifests.load import Manifests
from gateway.manifests.workloads import Container, Workload

# Variables that the simulator reads: one that is not known is told.
_READ = ("VLLM_", "SIM_", "POD_", "PYTHONHASHSEED", "NAMESPACE")
_OF_PICKERS = frozenset({"pool-name", "pool-namespace", "config-file", "config-text", "grpc-port"})


@dataclass(frozen=True)
class ServerCommand:
    """Flags and variables of a model server; `notes` say what of the container stays out or is replaced."""

    flags: tuple[str, ...]
    env: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Context:
    """A container with what it finds: variables by name, files by mount path."""

    container: Container
    env: Mapping[str, str]
    places: Mapping[str, Path]
    directory: Path
    pod: PodIdentity

    def world(self, is_server: servers.Recogniser) -> World:
        files = mounted(self.container, self.places, self.directory)
        version = vllm_version(self.container.image)
        return World(is_server, files.read, files.exists, self.pod.name, self.pod.address, version)

    def words(self) -> tuple[list[str], list[str]]:
        """Command and args, references resolved."""
        command, args = self.container.command, self.container.args
        return [expand(w, self.env) for w in command], [expand(w, self.env) for w in args]


def server_command(
    manifests: Manifests,
    workload: Workload,
    container: Container,
    *,
    name: str,
    address: str,
    directory: Path,
) -> ServerCommand:
    """The model server in the pod `name`, its volumes written to `directory`.

    Raises ContainerError for a container that cannot be run so, ManifestError for references to nothing.
    """
    labels, annotations = workload.pod_labels, workload.pod_annotations
    pod = PodIdentity(name, workload.namespace, address, labels, annotations, workload.service_account)
    env = environment(manifests, workload, container, pod)
    places = mount_files(manifests, workload, container, directory)
    context = _Context(container, env, places, directory, pod)
    try:
        return _server_command(context)
    except ScriptError as error:
        raise container_error(container, str(error)) from error


def container_error(container: Container, message: str) -> ContainerError:
    """What is wrong with a container, at its place in the manifests."""
    key = "args" if container.args else "command" if container.command else "image"
    error = container.root.error(f"container {container.name}: {message}", key)
    return ContainerError(error.message, error.file, error.line)


def _server_command(context: _Context) -> ServerCommand:
    words, notes = _started(context)
    search = Search(context.world(servers.is_server), _likeness)
    variables = {"HOSTNAME": context.pod.name, **context.env}
    start = search.take(words, variables)
    server = servers.server(start.words)
    run = search.run
    assert run is not None  # a start was found on it
    local = local_flags(server.flags, context.places, context.directory, run.files)
    flags = with_compat(context.container.image, local.flags)
    env = {n: v for n, v in start.env.items() if isinstance(v, str)}
    env.setdefault("POD_NAME", context.pod.name)
    env.setdefault("POD_NAMESPACE", context.pod.namespace)
    notes += [*server.notes, *local.notes, *run.unread]
    if "--headless" in flags:
        notes.append(
            "--headless: in a cluster it computes for another pod and listens on no port; here it answers"
        )
    notes += [_empty(n, line) for n, line in run.unset.items() if _matters(n, start)]
    notes += [
        f"{n} is left out: {v}"
        for n, v in start.env.items()
        if isinstance(v, Unknown) and n.startswith(_READ)
    ]
    return ServerCommand(tuple(flags), env, tuple(dict.fromkeys(notes)))


def _matters(name: str, start: Start) -> bool:
    return f"${name}" in start.source or f"${{{name}" in start.source


def _empty(name: str, line: int) -> str:
    return f"${name} (line {line}) has no value in these manifests: the script puts nothing in its place"


def _likeness(start: Start) -> Hashable:
    """Servers that the simulator would run alike are one."""
    env = tuple(sorted((n, str(v)) for n, v in start.env.items() if n.startswith(_READ)))
    return servers.server(start.words), env


def _started(context: _Context) -> tuple[list[Value], list[str]]:
    """The words of the container's process, and what is to be told of them.

    Without a command they are the image's own: known by its name, or taken to be those of a server where the
    args look like it.
    """
    command, args = context.words()
    if command or (args and _is_program(args)):
        return [*command, *args], []
    image = context.container.image
    known = entrypoint(image)
    if isinstance(known, str):
        raise ScriptError(f"the image {image} is {known}; the simulator imitates vLLM")
    if known is not None:
        return [*known, *args], []
    if not args:
        raise ScriptError(f"no server command found: what the image {image or '(none)'} starts is not known")
    note = f"what the image {image or '(none)'} starts is not known: its args are read as those of vllm serve"
    return ["vllm", "serve", *args], [note]


def _is_program(words: Sequence[str]) -> bool:
    """Whether args begin with a program of their own, for images whose entrypoint only runs them."""
    name = words[0].rpartition("/")[2]
    return servers.is_server(list(words)) or name in {"sh", "bash", "ash", "dash", "env", "numactl", "exec"}


def picker_words(container: Container, env: Mapping[str, str], places: Mapping[str, Path]) -> list[str]:
    """Command and args of an endpoint picker as its process gets them, a shell's script followed.

    Raises ContainerError where the script starts none.
    """
    words = [expand(word, env) for word in (*container.command, *container.args)]
    if not words or words[0].rpartition("/")[2] not in {"sh", "bash", "ash", "dash"}:
        return [relocate(word, places) for word in words]
    search = Search(World(_is_picker), lambda start: start.words)
    try:
        start = search.take(list(words), env)
        found = [_known(word) for word in start.words]
    except ScriptError as error:
        raise container_error(container, str(error).replace("server command", "endpoint picker")) from error
    return [relocate(word, places) for word in found]


def _is_picker(words: list[Value]) -> bool:
    flags = [w.partition("=")[0].lstrip("-") for w in words if isinstance(w, str) and w.startswith("-")]
    return not _OF_PICKERS.isdisjoint(flags)


def _known(word: Value) -> str:
    if isinstance(word, Unknown):
        raise ScriptError(f"its arguments hold {word}", word.line or None)
    return word
