"""`--config FILE`: YAML whose keys are flags, as llm-d-inference-sim and vLLM have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit.errors import DocumentError
from kit.printable import one_line
from kit.yamldoc import load_documents
from simulator.config.commandline.parser import Given, unknown
from simulator.config.flags.table import find_long
from simulator.config.flags.values import read
from simulator.errors import ConfigError


def read_file(path: str) -> dict[str, Given]:
    """The values that a file gives, each with its line; raises ConfigError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--config {path} is not text in UTF-8: {error}") from None
    try:
        documents = list(load_documents(text, path, DocumentError))
    except DocumentError as error:
        raise ConfigError(f"--config {error}") from None
    if len(documents) > 1:
        raise ConfigError(f"--config {path}:{documents[1].line}: a second document; one is expected")
    if not documents:
        return {}
    root = documents[0]
    if not isinstance(root.data, dict):
        raise ConfigError(f"--config {path}: a mapping of flags to values is expected, such as `port: 8000`")
    given: dict[str, Given] = {}
    for key, written in root.data.items():
        where = f"{path}:{root.line_of((key,))} {one_line(key)}"
        name, value = _value(key, written, where)
        if name in given:
            raise ConfigError(f"{where}: --{name} has its value at {given[name].where} already; keep one")
        if value is not None:
            given[name] = Given(value, where)
    return given


def _value(key: str, value: Any, where: str) -> tuple[str, Any]:
    # A flag whose value is off by `no-` in front is on in YAML as `no-x: true`.
    found = find_long(key)
    if found is None:
        raise unknown(key, where)
    flag, negated = found
    if flag.name == "config":
        raise ConfigError(f"{where}: a configuration file cannot name another")
    if value is None:
        return flag.name, None
    result = read(flag, value, where)
    return flag.name, (not result) if negated else result
