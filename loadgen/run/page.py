"""`--ui`: the live page of the stack that stands at the target, while a run goes on.

`simfleet ui` serves it, as a child: a run speaks HTTP and knows nothing of stacks but their listing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from kit.children import end_group
from loadgen.errors import LoadgenError
from loadgen.run.fleetlist import stack_at
from loadgen.run.scrape import read_fleet

READY_S = 20.0
END_S = 5.0


@contextlib.asynccontextmanager
async def live_page(
    target: str, stack: str | None, how: str | None, tell: Callable[[str], None]
) -> AsyncIterator[None]:
    """Have the page served meanwhile; what its address is, or why there is none, is told.

    stack: the name of the one that is meant. how: `print` its address, `open` it in the browser too, or None
    for no page. A run goes on without its page.
    """
    child = None
    try:
        if how is not None:
            name = await _stack(target, stack)
            child = await _serve(name, how)
            url = await _address(child)
            tell(f"live page of stack {name}: {url}")
    except LoadgenError as error:
        tell(f"--ui: no live page: {error}")
    try:
        yield
    finally:
        if child is not None:
            await end_group(child, END_S)


async def _stack(target: str, name: str | None) -> str:
    """The stack at the target; LoadgenError says which there are instead."""
    program = _program()
    listing = await read_fleet(f"{shlex.quote(program)} ps --format json", "simfleet ps --format json")
    found, others = stack_at(listing, target, name)
    if found is not None:
        return found
    there = f"the stacks that run are {', '.join(others)}" if others else "no stack runs (`simfleet up`)"
    raise LoadgenError(f"no stack of simfleet stands at {target}; {there}")


def _program() -> str:
    """`simfleet` as it was installed beside this interpreter, else on the PATH."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    found = shutil.which("simfleet", path=places)
    if found is None:
        raise LoadgenError("there is no simfleet beside loadgen or on the PATH")
    return found


async def _serve(name: str, how: str) -> asyncio.subprocess.Process:
    opened = ("--open",) if how == "open" else ()
    try:
        return await asyncio.create_subprocess_exec(
            *(_program(), "ui", "--name", name, *opened),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # ended as a whole, the server below it too
        )
    except OSError as error:
        raise LoadgenError(f"`simfleet ui`: {error.strerror}") from error


async def _address(child: asyncio.subprocess.Process) -> str:
    """What it says first; one that says nothing is ended. LoadgenError has its last words."""
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        url = (await asyncio.wait_for(child.stdout.readline(), READY_S)).decode(errors="replace").strip()
    except TimeoutError:
        raise LoadgenError(f"`simfleet ui` said nothing for {READY_S:g} s") from None
    if not url:
        words = (await child.stderr.read()).decode(errors="replace").strip()
        raise LoadgenError(f"`simfleet ui` ended: {words[-300:] or 'without a word'}")
    return url
