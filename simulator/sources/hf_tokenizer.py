"""A Hugging Face tokenizer.json from a local path (extra `tokenizers`); nothing is downloaded.

Beside tokenizer.json these are read where they exist: tokenizer_config.json (bos, eos, chat template),
chat_template.jinja, generation_config.json and config.json (eos, vocabulary size).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.engine.text import chatml
from simulator.engine.text.segments import SEGMENT_CHARS, SegmentCache
from simulator.engine.text.tokenizer import Message
from simulator.errors import ConfigError
from simulator.sources import chat_template as templates

if TYPE_CHECKING:
    import tokenizers


def byte_alphabet() -> dict[str, int]:
    """The characters by which byte-level tokenizers write the 256 bytes (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    return alphabet | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_ALPHABET = byte_alphabet()
_OF_FILES = frozenset({"tokenizer_class", "vocab_file", "merges_file", "added_tokens_decoder"})


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold a JSON object")
    return value


def _load(path: Path) -> tokenizers.Tokenizer:
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415  an extra; asked for only here
    except ImportError as error:
        raise ConfigError(
            f"tokenizer {path}: the package tokenizers is missing: pip install 'vllm-simfleet[tokenizers]'"
        ) from error
    if not path.is_file():
        raise ConfigError(
            f"tokenizer {path} does not exist; give a tokenizer.json or the folder that holds one"
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ConfigError(f"tokenizer {path} cannot be read: {error}") from error


class _TokenBytes(dict[int, bytes]):
    """Bytes of an id by the tokenizer's decoder: byte-level, SentencePiece (blank and <0x..>) or plain."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, byte_level: bool, special: frozenset[int]) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._byte_level = byte_level
        self._special = special

    def __missing__(self, token_id: int) -> bytes:
        data = self[token_id] = self._bytes(token_id)
        return data

    def _bytes(self, token_id: int) -> bytes:
        token = self._tokenizer.id_to_token(token_id) if 0 <= token_id < 1 << 32 else None
        if token is None:
            return b""
        if token_id in self._special:
            return token.encode()
        if self._byte_level and all(character in _ALPHABET for character in token):
            return bytes(_ALPHABET[character] for character in token)
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes.fromhex(token[3:5])
        return token.replace("\u2581", " ").encode()


class _TokenTexts(dict[int, str | None]):
    def __init__(self, token_bytes: _TokenBytes, special: frozenset[int]) -> None:
        super().__init__()
        self._bytes = token_bytes
        self._special = special

    def __missing__(self, token_id: int) -> str | None:
        try:
            text = None if token_id in self._special else self._bytes[token_id].decode()
        except UnicodeDecodeError:
            text = None
        self[token_id] = text
        return text


class HfTokenizer:
    """See `simulator.engine.text.tokenizer.Tokenizer`. `path`: a tokenizer.json or the folder that holds one.

    Raises ConfigError where the files are missing or broken. `chat_template` overrides the tokenizer's own.
    """

    def __init__(self, path: Path, chat_template: str | None = None) -> None:
        file = path / "tokenizer.json" if path.is_dir() else path
        folder = file.parent
        self._tokenizer = _load(file)
        spec = _read_json(file)
        settings = _read_json(folder / "tokenizer_config.json")
        model = _read_json(folder / "config.json")
        generation = _read_json(folder / "generation_config.json")
        added = spec.get("added_tokens") or []
        self._special = frozenset(int(token["id"]) for token in added if token.get("special"))
        self._vocab_size = int(model.get("vocab_size") or self._tokenizer.get_vocab_size())
        self._named = {
            name: self._token_named(settings.get(name))
            for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        }
        self._settings = {**settings, "name_or_path": str(folder)}
        self._added = {str(token["id"]): token["content"] for token in added}
        self._eos = self._id(
            self._named["eos_token"], generation.get("eos_token_id"), model.get("eos_token_id")
        )
        self._template = chat_template or _own_template(folder, settings)
        byte_level = "ByteLevel" in json.dumps([spec.get("decoder"), spec.get("pre_tokenizer")])
        self._bytes = _TokenBytes(self._tokenizer, byte_level, self._special)
        self.token_text: Callable[[int], str | None] = _TokenTexts(self._bytes, self._special).__getitem__
        self._segments = SegmentCache(self._encode_whole)
        # cutting at blanks is right only where nothing is put before or normalised over a text
        self._divisible = byte_level and not any(spec.get(k) for k in ("normalizer", "truncation", "padding"))

    @property
    def vocab_size(self) -> int:
        """The model's, where config.json tells it: it may be larger than the tokenizer's."""
        return self._vocab_size

    @property
    def eos_token_id(self) -> int | None:
        return self._eos

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        if add_special_tokens or not self._divisible or len(text) <= SEGMENT_CHARS:
            return self._encode_whole(text, add_special_tokens)
        return self._segments.encode(text)

    def _encode_whole(self, text: str, add_special_tokens: bool = False) -> list[int]:
        try:
            encoding = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        except (UnicodeEncodeError, TypeError):  # lone surrogates, which JSON can write, are no UTF-8
            clean = text.encode("utf-8", "replace").decode()
            encoding = self._tokenizer.encode(clean, add_special_tokens=add_special_tokens)
        ids: list[int] = encoding.ids
        return ids

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        known = [i for i in token_ids if 0 <= i < self._vocab_size]
        text: str = self._tokenizer.decode(known, skip_special_tokens=skip_special_tokens)
        return text

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id]

    def token_str(self, token_id: int) -> str:
        token = self._tokenizer.id_to_token(token_id) if 0 <= token_id < 1 << 32 else None
        return token or ""

    def is_special(self, token_id: int) -> bool:
        return token_id in self._special

    def describe(self) -> dict[str, Any]:
        """See Tokenizer: tokenizer_config.json, and what the library that vLLM loads it with adds."""
        made = f"TokenizerPoolCached{self._settings.get('tokenizer_class', 'TokenizersBackend')}"
        own = {key: value for key, value in self._settings.items() if key not in _OF_FILES}
        told: dict[str, Any] = {"tokenizer_class": made, **own, "truncation_side": "left"}
        told["name_or_path"] = told.pop("name_or_path")
        told |= {"is_local": True, "local_files_only": True, "added_tokens_decoder": self._added}
        told |= {name: token for name, token in self._named.items() if token is not None}
        return told if self._template is None else {**told, "chat_template": self._template}

    def apply_chat_template(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        chat_template: str | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """The request's template, else the tokenizer's, else ChatML."""
        template = chat_template or self._template
        if template is None:
            return chatml.render(
                messages,
                tools,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
            )
        named = {name: token or "" for name, token in self._named.items()}
        return templates.render(
            template,
            messages,
            tools,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            template_kwargs={**named, **(template_kwargs or {})},
        )

    def _token_named(self, value: object) -> str | None:
        content = value.get("content") if isinstance(value, dict) else value
        return content if isinstance(content, str) else None

    def _id(self, token: str | None, *fallbacks: object) -> int | None:
        found: int | None = self._tokenizer.token_to_id(token) if token else None
        if found is not None:
            return found
        for fallback in fallbacks:
            first = fallback[0] if isinstance(fallback, list) and fallback else fallback
            if isinstance(first, int):
                return first
        return None


def _own_template(folder: Path, settings: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from error
    template = settings.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default") or next(iter(named.values()), None)
    return template if isinstance(template, str) else None
