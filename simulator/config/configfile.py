"""`--config FILE`: YAML whose keys are flags, as llm-d-inference-sim and vLLM have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from simulator.config.flags.table import find_long
from simulator.config.flags.values import read
from simulator.config.parser import Given, unknown
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
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"--config {path} is not valid YAML: {error}") from None
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"--config {path}: a mapping of flags to values is expected, such as `port: 8000`")
    given: dict[str, Given] = {}
    for key_node, value_node in root.value:
        where = f"{path}:{key_node.start_mark.line + 1} {key_node.value}"
        name, value = _value(str(key_node.value), _construct(value_node, where), where)
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


def _construct(node: yaml.Node, where: str) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:  # a tag or a date that plain YAML has no value for
        raise ConfigError(f"{where}: {getattr(error, 'problem', error)}") from None
    finally:
        loader.dispose()
