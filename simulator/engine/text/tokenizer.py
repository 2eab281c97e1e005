"""Text to token ids and back: the Protocol that everybody codes against.

The built-in tokenizer is `regex_tokenizer.RegexTokenizer`; a Hugging Face `tokenizer.json` is read by
`simulator.sources.hf_tokenizer`, which stands outside the engine because it needs third-party packages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Message = Mapping[str, Any]  # one chat message as JSON: role, content (str, list of parts or None), ...


class Tokenizer(Protocol):
    """What the engine and the server ask of a tokenizer; shared by replicas."""

    @property
    def vocab_size(self) -> int:
        """Ids are in range(vocab_size)."""

    @property
    def eos_token_id(self) -> int | None: ...

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The ids of `text`; special tokens written out in the text count as one id each.

        `add_special_tokens` adds what the tokenizer's own post-processor adds (a BOS, mostly).
        """

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """The text of `token_ids`; broken UTF-8 becomes U+FFFD, ids out of range become nothing."""

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that this id adds to a text; b"" for an id out of range."""

    def token_text(self, token_id: int) -> str | None:
        """The text of an id that is not special, where its bytes are whole UTF-8 characters, else None.

        A table look-up.
        """

    def token_str(self, token_id: int) -> str:
        """The id as `return_token_strs` and tokenizer files write it."""

    def is_special(self, token_id: int) -> bool: ...

    def describe(self) -> dict[str, Any]:
        """What /tokenizer_info tells of it: class, named tokens, limits, added tokens, chat template."""

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
        """The prompt text of a conversation, to be encoded without `add_special_tokens`.

        Raises `simulator.errors.EngineError` where the template refuses the conversation.
        """
