"""The files that manifests put into a container: ConfigMaps and Secrets, where they are mounted."""

from __future__ import annotations

import errno
import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.manifests.inside import inside, is_inside
from gateway.manifests.load import Manifests
from gateway.manifests.workloads import Container, Files, Volume, Workload

_MOST = 1024 * 1024  # bytes of a script; a ConfigMap holds no more


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


@dataclass(frozen=True)
class MountedFiles:
    """What a script finds below the mounts of its container; `volumes` are all mount paths."""

    directory: Path
    places: Mapping[str, Path]
    volumes: frozenset[str]

    def _local(self, path: str) -> Path | None:
        """Where a path of the container stands here, None for one that is below no mount of ours."""
        path = posixpath.normpath(path)
        for mount in sorted(self.places, key=len, reverse=True):
            if path == mount or path.startswith(f"{mount}/"):
                local = Path(f"{self.places[mount]}{path[len(mount) :]}")
                return local if is_inside(self.directory, local) else None
        return None

    def read(self, path: str) -> str | None:
        """The text of a mounted file, None for any other."""
        local = self._local(path)
        if local is None or not local.is_file() or local.stat().st_size > _MOST:
            return None
        return local.read_text(encoding="utf-8", errors="replace")

    def exists(self, letter: str, path: str) -> bool | None:
        """The file test `-letter` of a path; None where only the image knows."""
        if posixpath.normpath(path) in self.volumes and letter in "de":
            return True
        local = self._local(path)
        if local is None:
            return None
        tests = {"d": local.is_dir(), "f": local.is_file(), "s": local.is_file() and local.stat().st_size > 0}
        return tests.get(letter, local.exists()) if letter in "defrs" else None


def mounted(container: Container, places: Mapping[str, Path], directory: Path) -> MountedFiles:
    """The files of a container whose volumes were written by `mount_files`."""
    volumes = frozenset(posixpath.normpath(m.path) for m in container.mounts)
    return MountedFiles(Path(os.path.realpath(directory)), places, volumes)
