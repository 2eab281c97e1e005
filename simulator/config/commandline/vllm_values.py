"""Values of vLLM's options: text -> value as its parser makes it, or the reason why it takes no such text."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simulator.config.flags.vllm_objects import OBJECTS

Reader = Callable[[str], Any]
_SUFFIXED = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
_INSIDE_JSON = re.compile(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b")
_STRINGS = re.compile(r'("(?:[^"\\]|\\.)*")')
# A small letter counts in thousands, a capital in 1024s.
_FACTORS: dict[str, int] = {letter: 1000**i for i, letter in enumerate("kmgt", 1)}
_FACTORS |= {letter: 1024**i for i, letter in enumerate("KMGT", 1)}
_OURS = {
    "kv-events-config": {"encoding": ":map|array", "int_hashes": "b"},
    "kv-transfer-config": {"kv_ip": "s", "kv_rank": "0i", "kv_parallel_size": "i", "kv_buffer_size": "n"},
}  # of this project; of vLLM 0.11
_WORDS = {
    "s": "text", "i": "an integer", "n": "a number", "b": "true or false", "a": "a list", "o": "an object",
}  # fmt: skip
_TRUE = {"0", "off", "f", "false", "n", "no", "1", "on", "t", "true", "y", "yes"}  # what pydantic takes


def human(text: str) -> int:
    """4096, 4k (4000), 25.6k or 4K (4096); raises ArgumentTypeError and ValueError."""
    text = text.strip()
    match = _SUFFIXED.fullmatch(text)
    if match is None:
        return int(text)
    number, suffix = match.groups()
    if suffix.islower():
        return int(float(number) * _FACTORS[suffix])
    factor = _FACTORS[suffix]
    if "." in number:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {suffix}; {suffix.lower()} may be")
    return int(number) * factor


def human_or_auto(text: str) -> int:
    """The same, or -1 for "auto"."""
    text = text.strip()
    return -1 if text == "-1" or text.lower() == "auto" else human(text)


def optional(inner: Reader) -> Reader:
    """None for nothing and for "None"."""

    def read(text: str) -> Any:
        return None if text in ("", "None") else inner(text)

    return read


def object_or_text(text: str) -> Any:
    """JSON where it looks like an object."""
    return json.loads(text) if re.match(r"(?s)^\s*{.*}\s*$", text) else text


def reasoning_parser(text: str) -> str:
    """ "none" is none."""
    return "" if text.lower() == "none" else text


def folded(text: str) -> str:
    return text.lower().replace("-", "_")


def devices(text: str) -> list[int | str]:
    """Numbers and names, with commas between."""
    found = [part.strip() for part in text.split(",")]
    return [int(part) if part.isdigit() else part for part in found]


def config(name: str) -> Reader:
    """A JSON object with the fields of one of vLLM's configurations, and those that we add to it."""
    fields = {**_fields()[name], **_OURS.get(name, {})}

    def read(text: str) -> Any:
        parts = _STRINGS.split(text)
        parts[::2] = [_INSIDE_JSON.sub(lambda match: str(human(match[0])), part) for part in parts[::2]]
        value = json.loads("".join(parts))
        if not isinstance(value, dict):
            raise argparse.ArgumentTypeError(f"a JSON object is expected, not {value!r}")
        unknown = sorted(set(value) - set(fields))
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown keys {unknown}; there are {', '.join(fields)}")
        for key, inner in value.items():
            kinds, _, texts = fields[key].partition(":")
            wanted = texts.split("|") if texts else ()
            if inner not in wanted and not any(_fits(inner, kind) for kind in kinds):
                raise argparse.ArgumentTypeError(f"{key} must be {_words(kinds, wanted)}, not {inner!r}")
        if name == "kv-transfer-config" and value.get("kv_connector") and not value.get("kv_role"):
            raise argparse.ArgumentTypeError(
                "kv_connector needs a kv_role: kv_producer, kv_consumer, kv_both"
            )
        return value

    return read


def _words(kinds: str, texts: Sequence[str]) -> str:
    wanted = [_WORDS[kind] for kind in kinds if kind in _WORDS] + sorted(texts)
    return " or ".join(wanted) if len(wanted) < 3 else ", ".join(wanted)


def lora(text: str) -> str:
    """name=path or JSON, as it is written; who makes adapters of it reads it further.

    ArgumentTypeError for anything else.
    """
    if not ("=" in text and "," not in text):
        try:
            json.loads(text or "{}")
        except ValueError as error:
            what = "not valid JSON" if text.startswith(("{", "[")) else "neither name=path nor JSON"
            raise argparse.ArgumentTypeError(f"{text!r} is {what} ({error})") from None
    return text


def _fields() -> Mapping[str, Mapping[str, str]]:
    objects = {}
    for line in OBJECTS.replace("\n    ", " ").strip().split("\n"):
        name, _, fields = line.partition(": ")
        objects[name] = dict(field.split("=") for field in fields.split())
    return objects


def _fits(value: Any, kind: str) -> bool:
    """Whether pydantic, which is lenient, takes `value` for a field of `kind`."""
    match kind:
        case "s":
            return isinstance(value, str)
        case "i":
            return _is_number(value) and float(value) == int(float(value))
        case "n":
            return _is_number(value)
        case "b":
            return str(value).lower() in _TRUE and not isinstance(value, float)
        case "a":
            return isinstance(value, list)
        case "o":
            return isinstance(value, dict)
        case "0":
            return value is None
    return True


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | int | float):
        return True
    try:
        return isinstance(value, str) and float(value) is not None
    except ValueError:
        return False


READERS: dict[str, Reader] = {
    "str": str,
    "int": int,
    "float": float,
    "human": human,
    "auto": human_or_auto,
    "json": json.loads,
    "object-or-str": object_or_text,
    "folded": folded,
    "devices": devices,
    "parser": reasoning_parser,
    "append": str,
    "lora": lora,
}
