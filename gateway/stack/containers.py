"""A container as a command line on this machine: variables, downward API, mounted files, flags."""

from __future__ import annotations

import errno
import os
import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.manifests.inside import inside, is_inside
from gateway.manifests.load import Manifests
from gateway.manifests.workloads import Container, EnvVar, Files, Volume, Workload

_REFERENCE = re.compile(r"\$\$|\$\(([^()$\s]+)\)")
_SHELL_REFERENCE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")
_SHELLS = {"sh", "bash", "ash", "dash"}


@dataclass(frozen=True)
class PodIdentity:
    """What the downward API knows of a pod."""

    name: str
    namespace: str
    address: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    service_account: str = "default"

    def field(self, path: str) -> str | None:
        """The value of a fieldRef, None for a path that does not exist."""
        fixed = {
            "metadata.name": self.name,
            "metadata.namespace": self.namespace,
            "metadata.uid": f"{self.namespace}-{self.name}",
            "status.podIP": self.address,
            "status.podIPs": self.address,
            "status.hostIP": "127.0.0.1",
            "status.hostIPs": "127.0.0.1",
            "spec.nodeName": "localhost",
            "spec.serviceAccountName": self.service_account,
        }
        if path in fixed:
            return fixed[path]
        if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
            source = self.labels if found[1] == "labels" else self.annotations
            return source.get(found[2], "")
        return None


def environment(
    manifests: Manifests, workload: Workload, container: Container, pod: PodIdentity
) -> dict[str, str]:
    """The container's variables, in order, references to earlier ones resolved."""
    env: dict[str, str] = {}
    for kind, name in container.env_from:
        source = manifests.config_maps if kind == "ConfigMap" else manifests.secrets
        files = source.get((workload.namespace, name))
        env.update({k: v.decode(errors="replace") for k, v in files.data.items()} if files else {})
    for variable in container.env:
        env[variable.name] = _value(manifests, workload, variable, pod, env)
    return env


def _value(
    manifests: Manifests, workload: Workload, variable: EnvVar, pod: PodIdentity, env: Mapping[str, str]
) -> str:
    if variable.value is not None:
        return expand(variable.value, env)
    if variable.field_path is not None:
        value = pod.field(variable.field_path)
        if value is None:
            raise workload.resource.error(
                f"env {variable.name}: the downward API has no field {variable.field_path!r}"
            )
        return value
    source = manifests.config_maps if variable.config_map_key else manifests.secrets
    name, key = variable.config_map_key or variable.secret_key or ("", "")
    files = source.get((workload.namespace, name))
    if files is None or key not in files.data:
        if variable.optional or variable.secret_key:  # a Secret is seldom part of the manifests
            return ""
        raise workload.resource.error(f"env {variable.name}: ConfigMap {name} with key {key} not found")
    return files.data[key].decode(errors="replace")


def expand(text: str, env: Mapping[str, str]) -> str:
    """Kubernetes' $(VAR); $$ is a dollar, an unknown variable stays as it is written."""

    def replaced(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else env.get(found[1], found[0])

    return _REFERENCE.sub(replaced, text)


def mount_files(
    manifests: Manifests, workload: Workload, container: Container, directory: Path
) -> dict[str, Path]:
    """Write the ConfigMaps and Secrets that the container mounts; mount path to local path.

    Raises ManifestError for a path that leads out of its volume, or that no file can have.
    """
    places = {}
    for mount in container.mounts:
        volume = workload.volumes.get(mount.volume)
        files = _volume_files(manifests, workload, volume) if volume else None
        if volume is None or files is None:
            continue
        local = inside(directory, mount.volume)
        for key, content in files.data.items():
            name = key if volume.items is None else volume.items.get(key)
            if name is not None:
                _write(workload, volume, inside(local, name), content)
        places[posixpath.normpath(mount.path).rstrip("/")] = inside(local, mount.sub_path)
    return places


def _write(workload: Workload, volume: Volume, file: Path, content: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:  # `a` and `a/b` among the items
        raise workload.resource.error(
            f"volume {volume.name}: {file.name} is a file and a directory at once"
        ) from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise workload.resource.error(f"volume {volume.name}: {file.name}: {error.strerror}") from error


def _volume_files(manifests: Manifests, workload: Workload, volume: Volume) -> Files | None:
    if volume.config_map is not None:
        return manifests.config_maps.get((workload.namespace, volume.config_map))
    if volume.secret is not None:
        return manifests.secrets.get((workload.namespace, volume.secret))
    return None


def relocate(text: str, places: Mapping[str, Path]) -> str:
    """`text` with paths below a mount pointing at the local files.

    A path that leads out of its mount by `..` is another path of the container, and stays as it is written.
    """
    for mount in sorted(places, key=len, reverse=True):

        def replaced(found: re.Match[str], mount: str = mount) -> str:
            path = posixpath.normpath(found[0])
            below = path[len(mount) :] if path == mount or path.startswith(f"{mount}/") else None
            return found[0] if below is None else f"{places[mount]}{below}{'/' * found[0].endswith('/')}"

        text = re.sub(rf"(?<![\w./-]){re.escape(mount)}(?:/[^\s,;:=\"']*|$)", replaced, text)
    return text


def command_line(container: Container, env: Mapping[str, str], places: Mapping[str, Path]) -> list[str]:
    """Command and args as the process would get them; a shell's script is taken apart."""
    words = [relocate(expand(word, env), places) for word in (*container.command, *container.args)]
    if len(words) >= 3 and os.path.basename(words[0]) in _SHELLS and "c" in words[1].lstrip("-"):
        words = _script_words(container, words[2], env)
    return words


def _script_words(container: Container, script: str, env: Mapping[str, str]) -> list[str]:
    """The words of the last command of a shell script: a model server is started last, often by exec."""

    def replaced(found: re.Match[str]) -> str:
        return env.get(found[1] or found[3], found[2] or "")

    text = _SHELL_REFERENCE.sub(replaced, script.replace("\\\n", " "))
    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|\n")
        lexer.whitespace = " \t"
        lexer.whitespace_split = True
        tokens = list(lexer)
    except ValueError as error:
        raise container.root.error(f"the shell script cannot be taken apart: {error}", "args") from error
    commands: list[list[str]] = [[]]
    for token in tokens:
        if token and set(token) <= set(";&|\n"):
            commands.append([])
        else:
            commands[-1].append(token)
    last = next((c for c in reversed(commands) if c), [])
    return last[1:] if last[:1] == ["exec"] else last


def server_flags(container: Container, words: Sequence[str]) -> list[str]:
    """The model server's own flags: `words` without the program, whichever it is."""
    rest = list(words)
    has_program = bool(container.command) or (rest and not rest[0].startswith("-"))
    if has_program and rest and not rest[0].startswith("-"):
        program = os.path.basename(rest[0])
        if program.startswith("python") and rest[1:2] == ["-m"]:
            rest = rest[3:]
        elif program in {"vllm", "simfleet"} or container.command:
            rest = rest[1:]
    return rest[1:] if rest[:1] == ["serve"] else rest


_FILE_FLAGS = {"config", "chat-template", "dataset-path", "ssl-keyfile", "ssl-certfile", "ssl-ca-certs"}


def check_files(container: Container, flags: Sequence[str], directory: Path) -> None:
    """A pod has the files that are mounted, not those of this machine. Raises ManifestError for the others.

    A tokenizer may stand on this machine, for weights are never part of manifests.
    """
    for word, after in zip(flags, [*flags[1:], ""], strict=True):
        flag, equals, value = word.partition("=")
        name, value = flag.removeprefix("--").replace("_", "-"), value if equals else after
        if word.startswith("--") and name == "uds":
            raise container.root.error("--uds: a gateway reaches a pod over TCP; leave it out", "args")
        if not word.startswith("--") or name not in _FILE_FLAGS or not os.path.exists(value):
            continue
        if not is_inside(directory, Path(value)):
            raise container.root.error(
                f"--{name} {value} is a file of this machine, not of the pod: mount one instead", "args"
            )


# Images whose answers differ from the simulator's own default.
_COMPAT_BY_IMAGE = (
    (re.compile(r"(^|/)llm-d-inference-sim:v?0\.[0-7](\.|$)"), "llm-d-0.7"),
    (re.compile(r"(^|/)llm-d-inference-sim:v?0\.8(\.|$)"), "llm-d-0.8"),
    (re.compile(r"(^|/)llm-d-inference-sim:v?0\.9(\.|$)"), "llm-d-0.9"),
    (re.compile(r"(^|/)llm-d-inference-sim(:|@|$)"), "llm-d-0.10"),
    (re.compile(r"(^|/)vllm-openai:v0\.11\."), "vllm-0.11"),
)


def with_compat(container: Container, flags: Sequence[str]) -> list[str]:
    """`flags` with the --compat that the image calls for, unless they or a config file may name one."""
    named = any(f.split("=")[0] in {"--compat", "--config"} for f in flags)
    found = next((name for pattern, name in _COMPAT_BY_IMAGE if pattern.search(container.image)), None)
    return list(flags) if named or found is None else [*flags, "--compat", found]


def server_command(
    manifests: Manifests,
    workload: Workload,
    container: Container,
    *,
    name: str,
    address: str,
    directory: Path,
) -> tuple[list[str], dict[str, str]]:
    """Flags and environment of the model server in the pod `name`, its volumes written to `directory`.

    Raises ManifestError for a container that cannot be run so.
    """
    labels, annotations = workload.pod_labels, workload.pod_annotations
    identity = PodIdentity(name, workload.namespace, address, labels, annotations, workload.service_account)
    env = environment(manifests, workload, container, identity)
    places = mount_files(manifests, workload, container, directory)
    flags = with_compat(container, server_flags(container, command_line(container, env, places)))
    check_files(container, flags, directory)
    return flags, env
