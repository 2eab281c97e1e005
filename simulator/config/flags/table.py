"""All flags under all their spellings."""

from __future__ import annotations

import difflib

from simulator.config.flags.flag import Flag, Kind
from simulator.config.flags.inert import INERT_FLAGS
from simulator.config.flags.llmd import LLMD_FLAGS
from simulator.config.flags.ours import SIMFLEET_FLAGS
from simulator.config.flags.vllm import VLLM_FLAGS

FLAGS: dict[str, Flag] = {
    flag.name: flag for flag in (*SIMFLEET_FLAGS, *VLLM_FLAGS, *LLMD_FLAGS, *INERT_FLAGS)
}
_SHORT: dict[str, Flag] = {
    alias: flag for flag in FLAGS.values() for alias in flag.aliases if not alias.startswith("--")
}
_LONG: dict[str, Flag] = {
    alias[2:]: flag for flag in FLAGS.values() for alias in flag.aliases if alias.startswith("--")
}


def find_long(name: str) -> tuple[Flag, bool] | None:
    """The flag of a long name without dashes in front, and whether the name is its `no-` form."""
    name = name.replace("_", "-")
    flag = FLAGS.get(name) or _LONG.get(name)
    if flag is not None:
        return flag, False
    if name.startswith("no-"):
        flag = FLAGS.get(name[3:])
        if flag is not None and flag.kind is Kind.BOOL:
            return flag, True
    return None


def find_short(argument: str) -> tuple[Flag, str] | None:
    """The flag of "-tp", "-O3" or "-cc.mode", and what of the argument is left over."""
    best = max((alias for alias in _SHORT if argument.startswith(alias)), key=len, default=None)
    return None if best is None else (_SHORT[best], argument[len(best) :])


def nearest(name: str) -> str | None:
    """The known long name that looks most like an unknown one."""
    close = difflib.get_close_matches(name.replace("_", "-"), list(FLAGS), n=1, cutoff=0.5)
    return close[0] if close else None
