"""The parts of a shell script, as the parser finds them and the reader walks them. Data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """Text as it stands; `quoted` text is neither split nor a pattern."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Param:
    """`$name` and every `${...}`: `op` is what stands behind the name, `arg` and `more` its words."""

    name: str
    source: str
    line: int
    quoted: bool = False
    op: str = ""  # "-" ":-" "=" "?" "+" "#" "##" "%" "%%" "/" "//" "/#" "/%" "^" "^^" "," ",," ":" "@"
    arg: Word | None = None
    more: Word | None = None  # of "/": what is put in; of ":": the length
    index: Word | None = None  # of an array; `@` and `*` are its literals
    is_length: bool = False
    is_indirect: bool = False


@dataclass(frozen=True, slots=True)
class CommandSub:
    """`$(...)` and backquotes."""

    body: Block
    source: str
    line: int
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`$((...))`; its text is expanded before it is reckoned."""

    text: Word
    source: str
    line: int
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class ProcessSub:
    """`<(...)` and `>(...)`: the name of a pipe, which nobody knows beforehand."""

    body: Block
    source: str
    line: int


Part = Literal | Param | CommandSub | Arithmetic | ProcessSub


@dataclass(frozen=True, slots=True)
class Word:
    parts: tuple[Part, ...]
    source: str
    line: int

    @property
    def plain(self) -> str | None:
        """The text of a word without quotes and expansions, as reserved words are; None for others."""
        if len(self.parts) == 1 and isinstance(part := self.parts[0], Literal) and not part.quoted:
            return part.text
        return None

    @property
    def literal(self) -> str | None:
        """The text of a word without expansions; None for others."""
        texts = [part.text for part in self.parts if isinstance(part, Literal)]
        return "".join(texts) if len(texts) == len(self.parts) else None


@dataclass(frozen=True, slots=True)
class Assignment:
    """`name=value`, `name+=value`, `name[index]=value`, `name=(words)`."""

    name: str
    value: Word | tuple[Word, ...]
    index: Word | None = None
    is_append: bool = False


class HereDoc:
    """A here-document that has been announced: its word comes with the lines below the command."""

    def __init__(self, delimiter: str, line: int, *, strips_tabs: bool, is_quoted: bool) -> None:
        self.delimiter = delimiter
        self.strips_tabs = strips_tabs
        self.is_quoted = is_quoted
        self.word = Word((), "", line)


@dataclass(frozen=True, slots=True)
class Redirect:
    """`op` as written: `2>` is `>` with the fd 2; `<<` has its here-document for a target."""

    op: str
    target: Word | HereDoc
    fd: int | None = None


@dataclass(frozen=True, slots=True)
class Simple:
    assignments: tuple[Assignment, ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]
    line: int
    source: str


@dataclass(frozen=True, slots=True)
class Group:
    """`{ ...; }`, or with `is_subshell` `( ... )`."""

    body: Block
    is_subshell: bool
    redirects: tuple[Redirect, ...]
    line: int


@dataclass(frozen=True, slots=True)
class If:
    branches: tuple[tuple[Block, Block], ...]  # condition, what follows
    otherwise: Block | None
    redirects: tuple[Redirect, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Loop:
    """`while`, or with `is_until` `until`."""

    condition: Block
    body: Block
    is_until: bool
    redirects: tuple[Redirect, ...]
    line: int


@dataclass(frozen=True, slots=True)
class For:
    name: str
    words: tuple[Word, ...] | None  # None: the positional parameters
    body: Block
    redirects: tuple[Redirect, ...]
    line: int


@dataclass(frozen=True, slots=True)
class ArithmeticFor:
    begin: Word
    condition: Word
    step: Word
    body: Block
    redirects: tuple[Redirect, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Clause:
    """One of a `case`; `end` is `;;`, `;&` (go on into the next) or `;;&` (try the next, too)."""

    patterns: tuple[Word, ...]
    body: Block
    end: str


@dataclass(frozen=True, slots=True)
class Case:
    word: Word
    clauses: tuple[Clause, ...]
    redirects: tuple[Redirect, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    body: Command
    line: int


@dataclass(frozen=True, slots=True)
class Test:
    """A part of `[[ ]]`: `op` is "&&", "||", "!", or a test's own, with words or tests beneath."""

    op: str
    left: Test | Word | None
    right: Test | Word | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """`[[ ... ]]`."""

    test: Test
    redirects: tuple[Redirect, ...]
    line: int
    source: str


@dataclass(frozen=True, slots=True)
class Reckoning:
    """`(( ... ))`."""

    text: Word
    redirects: tuple[Redirect, ...]
    line: int
    source: str


Command = Simple | Group | If | Loop | For | ArithmeticFor | Case | Function | Condition | Reckoning


@dataclass(frozen=True, slots=True)
class Pipeline:
    commands: tuple[Command, ...]
    is_negated: bool
    line: int
    source: str


@dataclass(frozen=True, slots=True)
class AndOr:
    """Pipelines with `&&` and `||` between them; `rest` has each with the operator before it."""

    first: Pipeline
    rest: tuple[tuple[str, Pipeline], ...]
    is_background: bool


Block = tuple[AndOr, ...]
