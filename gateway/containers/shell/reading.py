"""The builtin `read`: a line of what stands before it in a pipe or behind it as a document, word by word."""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.containers.expand.values import Status, Unknown, Value
from gateway.containers.shell.context import Context, texts
from gateway.errors import ScriptError


class _Reading(NamedTuple):
    """What `read` is to set; `is_cut`: an option says how much is read, which is not followed."""

    names: list[str]
    array: str = ""
    is_raw: bool = False
    is_cut: bool = False


def _reading(rest: list[str]) -> _Reading:
    names, array, is_raw = list[str](), "", False
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or len(word) == 1:
            names.append(word)
            continue
        is_raw |= "r" in word
        if word[-1] in "dnNptiu":
            return _Reading(rest[1:], is_cut=True)
        if word[-1] == "a":
            array = rest.pop(0) if rest else "REPLY"
    return _Reading(names, array, is_raw)


def read(context: Context, args: list[Value], line: int) -> Status:
    """`read [-r] [-a ARRAY] NAMES`; what comes from outside is not known. Raises ScriptError."""
    rest = texts(args)
    if isinstance(rest, Unknown):
        raise ScriptError(f"read: a name {rest}", line)
    names, array, is_raw, is_cut = _reading(rest)
    if is_cut:
        return _read_unknown(context, names or ["REPLY"], line)
    text = context.input.line()
    if isinstance(text, Unknown) or (not is_raw and "\\" in (text or "")):
        return _read_unknown(context, [array] if array else names or ["REPLY"], line)
    if array:
        context.state.set(array, dict(enumerate(_ifs_split(context, text or "", None))))
    else:
        _set_words(context, names, text or "")
    return 0 if text is not None else 1


def _set_words(context: Context, names: list[str], text: str) -> None:
    """A word each, and the last name the rest; without a name all of it is REPLY."""
    if not names:
        context.state.set("REPLY", text)
        return
    parts = _ifs_split(context, text, len(names))
    for name, part in zip(names, [*parts, *[""] * len(names)], strict=False):
        context.state.set(name, part)


def _read_unknown(context: Context, names: list[str], line: int) -> Status:
    for name in names:
        context.state.set(name, Unknown(f"what `read {name}` gets", line))
    return Unknown("whether `read` gets anything", line)


def _ifs_split(context: Context, text: str, most: int | None) -> list[str]:
    ifs = context.state.variables.get("IFS")
    chars = ifs.value if ifs is not None and isinstance(ifs.value, str) else " \t\n"
    if not chars:
        return [text]
    blank = "".join(c for c in chars if c in " \t\n")
    text = text.strip(blank)
    if not text:
        return []
    other = "".join(c for c in chars if c not in blank)
    space = f"[{re.escape(blank)}]" if blank else "(?!)"
    pattern = rf"{space}*[{re.escape(other)}]{space}*|{space}+" if other else f"{space}+"
    if most is None:
        parts = re.split(pattern, text)
        return parts[:-1] if parts and parts[-1] == "" else parts
    return re.split(pattern, text, maxsplit=most - 1)
