"""Directories that are ours to delete: made by us, at the place where they stand.

Each carries a mark that names the path it was made for and its own inode. A mark that came along with a copy
(`cp -r`), a directory that was moved, and a link to a directory elsewhere are therefore not ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import UsageError

MARK = ".simfleet-owned"
ASIDE = ".simfleet-"  # how the names begin under which directories are made and deleted
_MARK_BYTES = 64 * 1024


def place(path: Path) -> Path:
    """`path` without links on the way to it; what stands at it is not looked at."""
    return Path(os.path.realpath(path.parent)) / path.name


@contextlib.contextmanager
def made(path: Path) -> Iterator[Path]:
    """A fresh marked directory beside `path`: fill it; it becomes `path` at the end, whole.

    Raises UsageError when something stands at `path`, OSError when nothing can be made there.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{ASIDE}{path.name}-", dir=path.parent))
    try:
        mark = {"path": str(place(path)), "inode": fresh.stat().st_ino}
        (fresh / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
        yield fresh
        if os.path.lexists(path):  # rename would take the place of an empty directory
            raise foreign(path)
        fresh.rename(path)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def is_ours(path: Path) -> bool:
    """Whether `path` is a directory that `made` made for this very path."""
    try:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            return False
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path / MARK, flags)
        with os.fdopen(descriptor, "rb") as file:
            mark = json.loads(file.read(_MARK_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(mark, dict) and mark == {"path": str(place(path)), "inode": found.st_ino}


def remove(path: Path) -> None:
    """Delete a directory of ours, at once for whoever looks. Raises UsageError for any other."""
    if not is_ours(path):
        raise foreign(path)
    gone = path.with_name(f"{ASIDE}{path.name}-{uuid.uuid4().hex}")
    try:
        path.rename(gone)
    except OSError:
        gone = path
    shutil.rmtree(gone, ignore_errors=True)


def renew(path: Path) -> None:
    """An empty directory of ours at `path`, in place of the one of ours that stands there.

    Raises UsageError when what stands there is not ours, OSError when it cannot be made.
    """
    if is_ours(path):
        remove(path)
    with made(path):
        pass


def foreign(path: Path) -> UsageError:
    """The refusal to take the place of what is not ours."""
    return UsageError(
        f"{path} stands in the way and was not made by simfleet, so it stays as it is: "
        "move it away, or choose another name or place"
    )
