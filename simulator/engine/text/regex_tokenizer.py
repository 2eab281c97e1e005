"""The built-in tokenizer: a regular expression cuts text into pieces, a fixed vocabulary names them.

`decode(encode(text)) == text` for every text: what has no id of its own is spelled in bytes. Ids never depend
on what was encoded before, so replicas, processes and releases agree on them.
Cost: one findall and one dictionary look-up per piece; segments of long prompts are remembered (segments.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from simulator.engine.text import chatml
from simulator.engine.text.segments import SEGMENT_CHARS, SegmentCache
from simulator.engine.text.tokenizer import Message
from simulator.engine.text.vocabulary import (
    BYTE_BASE,
    EOS_ID,
    MARKER_BASE,
    MARKERS,
    VOCAB_SIZE,
    Vocabulary,
)
from simulator.errors import EngineError

_PUNCTUATION = r"!-/:;=-@\[-`{-~"  # ASCII without "<", which may open a special token
_PIECE = re.compile(
    rf"<\|[a-z_]+\|>|</?(?:think|tool_call)>"
    rf"| ?[A-Za-z]{{1,32}}"
    rf"|[0-9]{{1,3}}"
    rf"| ?[{_PUNCTUATION}]{{1,8}}"
    rf"|[^\x00-\x7f]{{1,4}}"
    rf"|[ \t\r\n]{{1,64}}(?![ \t\r\n])(?<=[\t\r\n])"
    rf"|[ \t\r\n]{{1,64}}(?=[ \t\r\n])"
    rf"|.",
    re.DOTALL,
)
_CASE_RUN = re.compile(r" ?[A-Z]?[a-z]+| ?[A-Z]+(?![a-z])| ?[A-Za-z]")
_MAX_CACHED_PIECES = 1 << 17

TemplateRenderer = Callable[..., str]


class _PieceIds(dict[str, tuple[int, ...]]):
    """Ids of pieces, worked out at their first use; emptied when it has grown too large."""

    def __init__(self, spell: Callable[[str], tuple[int, ...]]) -> None:
        super().__init__()
        self._spell = spell

    def __missing__(self, piece: str) -> tuple[int, ...]:
        if len(self) >= _MAX_CACHED_PIECES:
            self.clear()
        ids = self[piece] = self._spell(piece)
        return ids


def _is_special(token_id: int) -> bool:
    return 0 <= token_id < BYTE_BASE and not MARKER_BASE <= token_id < MARKER_BASE + len(MARKERS)


class _TokenTexts(dict[int, str | None]):
    """Text of ids whose bytes are whole characters, None for others and special ones, filled at first use."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary

    def __missing__(self, token_id: int) -> str | None:
        try:
            text = None if _is_special(token_id) else self._vocabulary.bytes_of(token_id).decode()
        except UnicodeDecodeError:
            text = None
        if 0 <= token_id < VOCAB_SIZE:
            self[token_id] = text
        return text


class RegexTokenizer:
    """`render_template(template, messages, tools, **options)` serves requests that bring a chat template."""

    def __init__(self, render_template: TemplateRenderer | None = None) -> None:
        self._vocabulary = Vocabulary()
        self._ids = _PieceIds(self._spell)
        self._texts = _TokenTexts(self._vocabulary)
        self._segments = SegmentCache(self._encode_segment)
        self._render_template = render_template
        self.token_text: Callable[[int], str | None] = self._texts.__getitem__

    @property
    def vocab_size(self) -> int:
        return VOCAB_SIZE

    @property
    def eos_token_id(self) -> int | None:
        return EOS_ID

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """See Tokenizer; this one has no post-processor, `add_special_tokens` adds nothing."""
        if len(text) <= SEGMENT_CHARS:
            return self._encode_segment(text)
        return self._segments.encode(text)

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        if skip_special_tokens:
            token_ids = [i for i in token_ids if not self.is_special(i)]
        return b"".join(map(self._vocabulary.bytes_of, token_ids)).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        return self._vocabulary.bytes_of(token_id)

    def token_str(self, token_id: int) -> str:
        """The text itself; a byte that is no character of its own as <0xE2>."""
        data = self.token_bytes(token_id)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in data)

    def is_special(self, token_id: int) -> bool:
        return _is_special(token_id)

    def describe(self) -> dict[str, Any]:
        """See Tokenizer; it has no files, so there is little to tell."""
        return {"tokenizer_class": type(self).__name__, "eos_token": self.token_str(EOS_ID)}

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
        """ChatML, unless the request brings a template and the server gave a renderer for it.

        EngineError for a template without a renderer.
        """
        if chat_template is None:
            return chatml.render(
                messages,
                tools,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
            )
        if self._render_template is None:
            raise EngineError("chat_template given, but this tokenizer has no template renderer")
        return self._render_template(
            chat_template,
            messages,
            tools,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            template_kwargs=template_kwargs or {},
        )

    def _encode_segment(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._ids.__getitem__, _PIECE.findall(text))))

    def _spell(self, piece: str) -> tuple[int, ...]:
        special = self._vocabulary.special_ids.get(piece)
        if special is not None:
            return (special,)
        whole = self._vocabulary.id_of(piece)
        if whole is not None:
            return (whole,)
        bare = piece.lstrip(" ")
        if bare.isascii() and bare.isalpha():
            return tuple(chain.from_iterable(map(self._spell_letters, _CASE_RUN.findall(piece))))
        return self._spell_greedily(piece)

    def _spell_letters(self, run: str) -> tuple[int, ...]:
        """A word or part of one: its longest known beginning, then the rest in threes."""
        ids: list[int] = []
        while run:
            token_id, size = self._vocabulary.longest_beginning(run)
            ids.append(token_id)
            run = run[size:]
        return tuple(ids)

    def _spell_greedily(self, piece: str) -> tuple[int, ...]:
        """Longest known pieces from the left; characters without an id in bytes."""
        id_of = self._vocabulary.id_of
        ids: list[int] = []
        start = 0
        while start < len(piece):
            for end in range(len(piece), start, -1):
                token_id = id_of(piece[start:end])
                if token_id is not None:
                    ids.append(token_id)
                    start = end
                    break
            else:
                character = piece[start].encode("utf-8", "surrogatepass")
                ids += (BYTE_BASE + byte for byte in character)
                start += 1
        return tuple(ids)
