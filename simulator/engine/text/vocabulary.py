"""The vocabulary of the built-in tokenizer: which piece of text has which id. Nothing is downloaded or read.

Ids, in this order; every entry is stable, so the last part (words) may only grow at its end:
special tokens, the 256 bytes, all two- and three-letter pieces in five styles, ranges of code points, small
explicit pieces (digit groups, punctuation, white space), common words in four styles.
Most ids are arithmetic on their piece; only the explicit pieces and words stand in a table (about 9000).
"""

from __future__ import annotations

from string import ascii_letters, ascii_lowercase, ascii_uppercase, punctuation

from simulator.engine.text.words import COMMON_WORDS

VOCAB_SIZE = 131072  # the tail is reserved; ids there are valid and say nothing
SPECIAL_TOKENS = ("<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>", "<|tool_call|>")
MARKERS = ("<think>", "</think>", "<tool_call>", "</tool_call>")  # one token each, and visible text
MARKER_BASE = 32  # their ids
EOS_ID = 1
BYTE_BASE = 64  # ids below are special or reserved for special tokens

_LETTER_BASE = BYTE_BASE + 256
_PAIRS, _TRIPLES = 26**2, 26**3
_STYLE_SIZE = _PAIRS + _TRIPLES
_STYLES = 5  # lower, Title, UPPER, " lower", " Title"
_RANGE_BASE = _LETTER_BASE + _STYLES * _STYLE_SIZE
# Latin to Arabic, general punctuation, CJK punctuation and kana, CJK ideographs
_CODE_POINTS = (range(0x80, 0x800), range(0x2000, 0x2070), range(0x3000, 0x3100), range(0x4E00, 0xA000))
_EXPLICIT_BASE = _RANGE_BASE + sum(len(points) for points in _CODE_POINTS)

_PAIRED_PUNCTUATION = r'''
." ," ", ": "" () (" ") ). ), ): ); ]) }) [] {} }, ], "} "] == != <= >= => -> += -= ... .. -- ---
:: // */ /* ** && || </ /> ?? !! ?! `` ``` ## ### #### """ '. ', \n \" ():
'''
_SPACES = (
    *(" " * n for n in range(2, 33)),
    *("\n" * n for n in range(2, 9)),
    *("\t" * n for n in range(2, 9)),
    *("\n" + " " * n for n in range(1, 17)),
    "\r\n",
    "\r\n\r\n",
)
_LONGEST_WORD = 1 + max(map(len, COMMON_WORDS))


def _styles(word: str) -> tuple[str, ...]:
    title = word[0].upper() + word[1:]
    return word, title, " " + word, " " + title


def _explicit_pieces() -> list[str]:
    pieces = [f"{n:02d}" for n in range(100)] + [f"{n:03d}" for n in range(1000)]
    pieces += [" " + letter for letter in ascii_letters]
    pieces += [" " + mark for mark in punctuation]
    pieces += _PAIRED_PUNCTUATION.split()
    pieces += _SPACES
    pieces += [styled for word in COMMON_WORDS for styled in _styles(word)]
    return pieces


class Vocabulary:
    """Pieces to ids and ids to bytes."""

    def __init__(self) -> None:
        self._pieces = _explicit_pieces()
        self._ids = {piece: _EXPLICIT_BASE + i for i, piece in enumerate(self._pieces)}
        self.special_ids = {name: i for i, name in enumerate(SPECIAL_TOKENS)}
        self.special_ids |= {name: MARKER_BASE + i for i, name in enumerate(MARKERS)}

    def id_of(self, piece: str) -> int | None:
        """The id of exactly this piece; None when it has none and must be cut or spelled in bytes."""
        found = self._ids.get(piece)
        if found is not None:
            return found
        if len(piece) == 1:
            point = ord(piece)
            return BYTE_BASE + point if point < 0x80 else _code_point_id(point)
        if len(piece) <= 4 and piece.isascii():
            return _letters_id(piece)
        return None

    def longest_beginning(self, letters: str) -> tuple[int, int]:
        """(id, characters) of the longest piece that `letters`, one run of [ A-Za-z], begins with."""
        known = self._ids
        for size in range(min(len(letters), _LONGEST_WORD), 4, -1):
            found = known.get(letters[:size])
            if found is not None:
                return found, size
        for size in range(min(len(letters), 4), 1, -1):
            found = self.id_of(letters[:size])
            if found is not None:
                return found, size
        return BYTE_BASE + ord(letters[0]), 1

    def bytes_of(self, token_id: int) -> bytes:
        """What the id says; b"" for reserved ids and ids out of range."""
        if token_id < BYTE_BASE:
            name = SPECIAL_TOKENS[token_id : token_id + 1] if token_id >= 0 else ()
            name = name or (MARKERS[token_id - MARKER_BASE :][:1] if token_id >= MARKER_BASE else ())
            return name[0].encode() if name else b""
        if token_id < _LETTER_BASE:
            return bytes((token_id - BYTE_BASE,))
        if token_id < _RANGE_BASE:
            return _letters_of(token_id - _LETTER_BASE).encode()
        if token_id < _EXPLICIT_BASE:
            return chr(_code_point_of(token_id - _RANGE_BASE)).encode()
        index = token_id - _EXPLICIT_BASE
        return self._pieces[index].encode() if index < len(self._pieces) else b""


def _code_point_id(point: int) -> int | None:
    base = _RANGE_BASE
    for points in _CODE_POINTS:
        if point in points:
            return base + point - points.start
        base += len(points)
    return None


def _code_point_of(offset: int) -> int:
    for points in _CODE_POINTS:
        if offset < len(points):
            return points[offset]
        offset -= len(points)
    raise AssertionError("offset beyond the ranges of code points")


def _letters_id(piece: str) -> int | None:
    """Id of two or three letters, with or without a blank before them, in one of the five styles."""
    letters = piece.removeprefix(" ")
    if len(letters) not in {2, 3} or not letters.isalpha():
        return None
    spaced = 3 if len(letters) != len(piece) else 0
    if letters.islower():
        style = spaced
    elif letters[0].isupper() and letters[1:].islower():
        style = spaced + 1
    elif letters.isupper() and not spaced:
        style = 2
    else:
        return None
    index = 0
    for letter in letters.lower():
        index = index * 26 + ord(letter) - 97
    return _LETTER_BASE + style * _STYLE_SIZE + index + (_PAIRS if len(letters) == 3 else 0)


def _letters_of(offset: int) -> str:
    style, index = divmod(offset, _STYLE_SIZE)
    size = 2
    if index >= _PAIRS:
        size, index = 3, index - _PAIRS
    alphabet = ascii_uppercase if style == 2 else ascii_lowercase
    letters = ""
    for _ in range(size):
        index, letter = divmod(index, 26)
        letters = alphabet[letter] + letters
    if style in {1, 4}:
        letters = letters[0].upper() + letters[1:]
    return " " + letters if style >= 3 else letters
