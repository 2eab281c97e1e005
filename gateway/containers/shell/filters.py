"""Programs that only turn text into text, as far as scripts cut names apart with them: their output is known.

An option or a program text that is not understood makes the output unknown, not wrong: the function is None.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

from gateway.containers.shell.run import World

Filter = Callable[[list[str], str, World], str | None]
_LONGEST = 100_000  # numbers of seq


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _ended(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _selected(fields: str, count: int) -> list[int] | None:
    """The positions (from 0) that a list such as `1,3-` names."""
    chosen: set[int] = set()
    for part in fields.split(","):
        found = re.fullmatch(r"(\d*)(-?)(\d*)", part)
        if not found or not (found[1] or found[3]):
            return None
        first = int(found[1] or 1)
        last = int(found[3] or count) if found[2] else first
        chosen |= set(range(first - 1, min(last, count)))
    return sorted(i for i in chosen if i < count)


def _cut_options(args: list[str]) -> dict[str, str] | None:
    given: dict[str, str] = {"-d": "\t"}
    rest = list(args)
    while rest:
        word = rest.pop(0)
        option, value = word[:2], word[2:]
        if option == "-s" and not value:
            given["-s"] = ""
        elif option in {"-d", "-f", "-c"} and (value or rest):
            given[option] = value or rest.pop(0)
        else:
            return None
    return given


def _cut(args: list[str], text: str, _: World) -> str | None:
    given = _cut_options(args)
    if given is None:
        return None
    delimiter, fields, chars, only = given["-d"], given.get("-f"), given.get("-c"), "-s" in given
    if (fields is None) == (chars is None) or len(delimiter) != 1:
        return None
    found = []
    for line in _lines(text):
        if fields is not None and delimiter not in line:
            if not only:
                found.append(line)
            continue
        parts = list(line) if chars is not None else line.split(delimiter)
        chosen = _selected(chars or fields or "", len(parts))
        if chosen is None:
            return None
        found.append(("" if chars is not None else delimiter).join(parts[i] for i in chosen))
    return _ended(found)


def _set(text: str) -> str | None:
    classes = {"[:upper:]": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "[:lower:]": "abcdefghijklmnopqrstuvwxyz",
               "[:digit:]": "0123456789", "[:space:]": " \t\n\r\f\v", "[:blank:]": " \t"}  # fmt: skip
    for name, chars in classes.items():
        text = text.replace(name, chars)
    text = text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\")
    if "[:" in text:
        return None
    return re.sub(
        r"(.)-(.)", lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))), text, flags=re.DOTALL
    )


def _replacements(old: str, new: str) -> dict[int, str]:
    """The last of `new` stands for all that `old` has more; the first place of a repeated one counts."""
    padded = new + new[-1] * max(0, len(old) - len(new))
    return {ord(a): b for a, b in reversed(list(zip(old, padded, strict=False)))}


def _tr(args: list[str], text: str, _: World) -> str | None:
    known = [s for a in args if not a.startswith("-") and (s := _set(a)) is not None]
    options = [a for a in args if a.startswith("-") and len(a) > 1]
    if len(known) + len(options) != len(args):
        return None
    if options == ["-d"] and len(known) == 1:
        return text.translate({ord(c): None for c in known[0]})
    if options or len(known) != 2 or not known[1]:
        return None
    return text.translate(_replacements(*known))


def _head(args: list[str], text: str, _: World) -> str | None:
    found = re.fullmatch(r"(?:-n ?|-)?(\d+)", " ".join(args)) if args else re.fullmatch(r"(\d+)", "10")
    return _ended(_lines(text)[: int(found[1])]) if found else None


def _tail(args: list[str], text: str, _: World) -> str | None:
    found = re.fullmatch(r"(?:-n ?|-)(\d+)", " ".join(args)) if args else re.fullmatch(r"(\d+)", "10")
    count = int(found[1]) if found else 0
    return _ended(_lines(text)[-count:] if count else []) if found else None


def _awk(args: list[str], text: str, _: World) -> str | None:
    separator = None
    rest = list(args)
    if rest and rest[0].startswith("-F"):
        separator = rest.pop(0)[2:] or (rest.pop(0) if rest else "")
        if len(separator) != 1 or separator in " *+?[](){}^$|\\":
            return None
    found = re.fullmatch(r"\s*\{\s*print\s+\$(\d+|NF)\s*;?\s*\}\s*", rest[0]) if len(rest) == 1 else None
    if found is None:
        return None
    lines = []
    for line in _lines(text):
        parts = line.split(separator)
        number = len(parts) if found[1] == "NF" else int(found[1])
        lines.append(line if number == 0 else parts[number - 1] if number <= len(parts) else "")
    return _ended(lines)


def _sed(args: list[str], text: str, _: World) -> str | None:
    """One substitution whose pattern means the same to sed and to Python."""
    rest = [a for a in args if a not in {"-e", "-E", "-r"}]
    is_extended = any(a in {"-E", "-r"} for a in args)
    if len(rest) != 1 or not re.match(r"s[^\w\s\\]", rest[0]):
        return None
    parts = re.split(rf"(?<!\\){re.escape(rest[0][1])}", rest[0])
    if len(parts) != 4 or parts[3] not in ("", "g") or re.search(r"[\\&]", parts[2]):
        return None
    if re.search(r"\\|\[:" if is_extended else r"\\|\[:|[+?|(){}]", parts[1]) or parts[1].startswith("*"):
        return None
    try:
        pattern = re.compile(parts[1])
    except re.error:
        return None
    return _ended([pattern.sub(lambda _: parts[2], x, count=0 if parts[3] else 1) for x in _lines(text)])


def _basename(args: list[str], _text: str, _: World) -> str | None:
    if not 1 <= len(args) <= 2 or args[0].startswith("-"):
        return None
    name = posixpath.basename(args[0].rstrip("/")) or args[0][:1]
    if len(args) == 2 and name != args[1]:
        name = name.removesuffix(args[1])
    return f"{name}\n"


def _dirname(args: list[str], _text: str, _: World) -> str | None:
    if len(args) != 1 or args[0].startswith("-"):
        return None
    name = args[0].rstrip("/") or "/"
    return f"{posixpath.dirname(name).rstrip('/') or ('/' if name.startswith('/') else '.')}\n"


def _seq(args: list[str], _text: str, _: World) -> str | None:
    if not 1 <= len(args) <= 3 or not all(re.fullmatch(r"-?\d+", a) for a in args):
        return None
    numbers = [int(a) for a in args]
    first, step, last = {1: (1, 1, numbers[-1]), 2: (numbers[0], 1, numbers[-1])}.get(
        len(numbers), (numbers[0], numbers[len(numbers) // 2], numbers[-1])
    )
    if step == 0 or abs(last - first) // abs(step) > _LONGEST:
        return None
    return _ended([str(n) for n in range(first, last + (1 if step > 0 else -1), step)])


def _hostname(args: list[str], _text: str, world: World) -> str | None:
    if not args or args == ["-s"]:
        return f"{world.hostname}\n"
    return f"{world.address}\n" if args in (["-i"], ["-I"], ["--ip-address"]) else None


def _rev(args: list[str], text: str, _: World) -> str | None:
    return None if args else _ended([line[::-1] for line in _lines(text)])


def _sort(args: list[str], text: str, _: World) -> str | None:
    """Plain names and numbers: what a locale could order otherwise stays unknown."""
    options = set("".join(a[1:] for a in args if re.fullmatch(r"-[Vnru]+", a)))
    lines = _lines(text)
    is_version = "V" in options and all(re.fullmatch(r"\d+(\.\d+)*", line) for line in lines)
    is_number = "n" in options and all(re.fullmatch(r"-?\d+", line) for line in lines)
    if len(options) != sum(len(a) - 1 for a in args) or not (is_version or is_number):
        return None
    ordered = sorted(lines, key=lambda line: [int(n) for n in line.split(".")], reverse="r" in options)
    return _ended(list(dict.fromkeys(ordered)) if "u" in options else ordered)


def _getent(args: list[str], _text: str, world: World) -> str | None:
    """`getent hosts` of the pod itself and of an address."""
    if len(args) != 2 or args[0] not in {"hosts", "ahosts"}:
        return None
    address = world.address if args[1] == world.hostname else args[1]
    return f"{address:<15} {args[1]}\n" if re.fullmatch(r"(\d{1,3}\.){3}\d{1,3}", address) else None


def _count(args: list[str], text: str, _: World) -> str | None:
    counts = {"-l": text.count("\n"), "-w": len(text.split()), "-c": len(text.encode())}
    return f"{counts[args[0]]}\n" if len(args) == 1 and args[0] in counts else None


def _expr(args: list[str], _text: str, _: World) -> str | None:
    if len(args) != 3 or not all(re.fullmatch(r"-?\d+", a) for a in (args[0], args[2])):
        return None
    left, right = int(args[0]), int(args[2])
    if args[1] in {"/", "%"}:
        if right == 0:
            return None
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return f"{quotient if args[1] == '/' else left - right * quotient}\n"
    results = {"+": left + right, "-": left - right, "*": left * right}
    return f"{results[args[1]]}\n" if args[1] in results else None


# program -> its function, and whether it reads standard input
FILTERS: dict[str, tuple[Filter, bool]] = {
    "cut": (_cut, True), "tr": (_tr, True), "head": (_head, True), "tail": (_tail, True), "awk": (_awk, True),
    "gawk": (_awk, True), "sed": (_sed, True), "rev": (_rev, True), "sort": (_sort, True),
    "wc": (_count, True), "getent": (_getent, False), "basename": (_basename, False),
    "dirname": (_dirname, False), "seq": (_seq, False),
    "hostname": (_hostname, False), "expr": (_expr, False),
}  # fmt: skip
