"""What the model says, from the flags: mode, data set, tokenizer and chat template."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from simulator.config.commandline.given import Values
from simulator.config.serve import TextConfig
from simulator.errors import ConfigError


def text_config(values: Values, seed: int | None) -> TextConfig:
    """Raises ConfigError for flags that contradict each other and files that are not there."""
    dataset = _dataset(values)
    mode: Literal["random", "echo", "dataset"] = values.get("mode", "dataset" if dataset else "random")
    if mode == "echo" and dataset:
        raise ConfigError("dataset cannot be defined in echo mode")
    if dataset and mode == "random":
        mode = "dataset"
    if mode == "dataset" and not dataset:
        raise ConfigError("--mode dataset needs --dataset-path, a JSONL file of prompts and responses")
    return TextConfig(mode, dataset, seed, _tokenizer(values), _chat_template(values))


def _dataset(values: Values) -> str | None:
    """The file of the data set: --dataset-path, or what a URL of this machine names in its place."""
    path, url = values.text("dataset-path"), values.text("dataset-url")
    if url is None:
        return path
    if not path:
        raise ConfigError("dataset-path is required when dataset-url is set")
    parts = urlsplit(url)
    if os.path.exists(path):  # fetched before
        return path
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        where = values.where("dataset-url")
        raise ConfigError(
            f"{where}: {url}: nothing is downloaded here; fetch it to {path}, or give a file: URL"
        )
    return unquote(parts.path)


def _tokenizer(values: Values) -> str | None:
    path = values.text("tokenizer")
    if path is None or os.path.exists(path):
        return path
    if path.startswith(("/", "./", "../", "~")):
        raise ConfigError(f"{values.where('tokenizer')}: {path} does not exist")
    return None  # a name on the Hugging Face hub: nothing is ever downloaded


def _chat_template(values: Values) -> str | None:
    """The template's text, out of its file where a file was given."""
    given = values.text("chat-template")
    if given is None:
        return None
    if os.path.isfile(given):  # a template is often longer than a path may be
        try:
            return Path(given).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{values.where('chat-template')}: {given} cannot be read: {error}") from None
    if not any(mark in given for mark in "{}\n"):
        raise ConfigError(f"{values.where('chat-template')}: {given} is neither a file nor a template")
    return given
