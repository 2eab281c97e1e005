"""Exact lengths: a tokenizer of the model, read from a local tokenizer.json (extra `tokenizers`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.errors import ScenarioError
from loadgen.plan.words import WORDS

if TYPE_CHECKING:
    import tokenizers

# Fewer words than this that are one token each would make prompts too much alike.
_FEWEST_WORDS = 40
_PROBE = 64


class Tokenizer:
    """Counts texts as the model does, and knows which words are one token wherever they stand.

    words: those of words.py of which a text of n has n tokens. specials: tokens that the model puts before a
    plain prompt. vocabulary: number of token ids.
    """

    def __init__(self, path: Path) -> None:
        """ScenarioError when there is no such file, it is none, or its words are all in pieces."""
        self._tokens = _load(path)
        self.specials = len(self._tokens.encode("").ids)
        self.vocabulary = int(self._tokens.get_vocab_size())
        self.words = tuple(word for word in WORDS if self.count(f" {word}" * _PROBE) == _PROBE)
        mixed = "".join(f" {word}" for word in self.words)
        if len(self.words) < _FEWEST_WORDS or self.count(mixed) != len(self.words):
            raise ScenarioError(
                f"only {len(self.words)} common words are one token each: lengths cannot be exact with it; "
                "leave --tokenizer out, or send token ids (--form tokens)",
                file=path,
            )

    def count(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        return len(self._tokens.encode(text, add_special_tokens=False).ids)


def _load(path: Path) -> tokenizers.Tokenizer:
    try:
        from tokenizers import Tokenizer as Read  # noqa: PLC0415  an extra; asked for only here
    except ImportError:
        raise ScenarioError(
            "--tokenizer needs the package tokenizers: pip install 'vllm-simfleet[tokenizers]'"
        ) from None
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise ScenarioError(
            "no tokenizer: give a tokenizer.json or a directory with one (nothing is downloaded)", file=path
        )
    try:
        return Read.from_file(str(file))
    except Exception as error:  # the package raises bare Exceptions
        raise ScenarioError(f"no tokenizer: {error}", file=file) from error
