"""Secrets stay out of everything that is written: a placeholder stands in scenario, plan, report and logs.

A scenario is read with its secrets taken out at once; whoever speaks to a server or a shell puts them back
with `reveal`, so that what is not revealed on purpose is safe. What counts: the values of SENSITIVE headers,
fields, variables and query parameters, passwords in URLs, what the scenario lists under `redact:`,
and the same values wherever else they appear.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

import yaml

MARK = "REDACTED-SECRET-"
# From so many characters on a secret is replaced wherever it appears; a shorter one may be a common word and
# is replaced where a name says that it is secret.
STRONG = 8
SENSITIVE = re.compile(
    r"(?:.*[-_])?(?:authorization|api[-_]?key|cookie|password|passwd|secret|(?:access|auth|bearer)[-_]token)"
    r"|token|(?:x|hf|github|gitlab)[-_]token",
    re.IGNORECASE,
)
_WORD = r"""([^\s"',;}]+)"""
_IS = r"""["']?\s*[:=]\s*["']?"""
_SCHEME = r"(?:(?:bearer|basic|token|digest|apikey)\s+)"
_CONTEXTS = tuple(
    re.compile(pattern)
    for pattern in (
        r"""://[^/\s:@"']*:([^@\s/"']+)@""",
        r"""://([^/\s:@"']{8,})@""",
        r"""(?i)[?&](?:[a-z-_]*api[-_]?key|key|[a-z-_]*token|secret|password|sig|signature)=([^&\s"'#]+)""",
        rf"(?i)authorization{_IS}{_SCHEME}?{_WORD}",
        rf"(?i)api[-_]?key{_IS}{_SCHEME}?([^\s\"',;}}&]+)",
        rf"""(?i)cookie{_IS}([^\n\x1f"']+)""",
        rf"""(?i)--?(?:api[-_]?key|(?:auth[-_]?)?token|password)(?:\s+|=)["']?{_WORD}""",
        rf"""\b[A-Z0-9_]*(?:TOKEN|SECRET|PASSWORD)=["']?{_WORD}""",
        r"""(?:\s-u|--user)[\s=]*["']?[^\s:"']+:([^\s"']+)""",
        r"\b(sk-[\w-]{16,}|hf_\w{16,}|eyJ[\w-]+\.[\w-]+\.[\w-]+)",
    )
)
_CREDENTIALS = re.compile(rf"(?i){_SCHEME}(.+)", re.DOTALL)
_SEPARATOR = "\x1f"  # between the arguments of a command line; white space for a pattern, and in no argument


@dataclass(slots=True)
class Secrets:
    """What was taken out: placeholder -> value; and the names that a scenario marks besides SENSITIVE."""

    values: dict[str, str] = field(default_factory=dict)
    marked: frozenset[str] = frozenset()

    def is_sensitive(self, name: str) -> bool:
        """Whether the value under this header, field or variable is a secret."""
        return bool(SENSITIVE.fullmatch(name)) or name.lower() in self.marked

    # --- learning ---------------------------------------------------------------------------------

    def learn(self, text: str) -> None:
        """Take in the secrets that stand in a text: a command, a URL, a file."""
        for pattern in self._contexts():
            for match in pattern.finditer(text):
                self._add(match[1])

    def learn_value(self, name: str, value: str) -> None:
        """Take in the value of a header, field or variable, if its name says that it is a secret."""
        if self.is_sensitive(name):
            for part in _parts(name, value):
                self._add(part)

    def _add(self, value: str) -> None:
        value = value.strip()
        known = value in self.values.values()
        if not known and value and MARK not in value and value[0] not in "$<{" and not _is_scheme(value):
            number = 1 + max((int(mark.removeprefix(MARK)) for mark in self.values), default=0)
            self.values[f"{MARK}{number}"] = value

    def _contexts(self) -> Iterator[re.Pattern[str]]:
        yield from _CONTEXTS
        for name in sorted(self.marked):
            yield re.compile(rf"(?i){re.escape(name)}{_IS}{_SCHEME}?([^\n\x1f\"']+)")

    # --- hiding and revealing ---------------------------------------------------------------------

    def hide(self, text: str) -> str:
        """The text with placeholders for secrets."""
        for mark, value in sorted(self.values.items(), key=lambda item: -len(item[1])):
            if len(value) >= STRONG:
                for spelling in {value, quote(value, safe=""), unquote(value), repr(value)[1:-1]}:
                    text = text.replace(spelling, mark)
        marks = {value: mark for mark, value in self.values.items()}
        for pattern in self._contexts() if marks else ():
            text = pattern.sub(lambda match: _with_group(match, marks.get(match[1].strip())), text)
        return text

    def hide_value(self, name: str, value: str) -> str:
        """The value of a header, field or variable without what is secret in it."""
        if self.is_sensitive(name):
            marks = {secret: mark for mark, secret in self.values.items()}
            for part in _parts(name, value):
                if part.strip() in marks:
                    value = value.replace(part.strip(), marks[part.strip()])
        return self.hide(value)

    def hide_arguments(self, arguments: Sequence[str]) -> list[str]:
        """A command line with placeholders for secrets; an argument may name what the next one holds."""
        return self.hide(_SEPARATOR.join(arguments)).split(_SEPARATOR)

    def reveal(self, text: str) -> str:
        """The text as it must be sent."""
        if MARK in text:
            for mark in sorted(self.values, key=len, reverse=True):
                text = text.replace(mark, self.values[mark])
        return text

    def reveal_body(self, body: bytes) -> bytes:
        """`reveal` inside JSON."""
        if MARK.encode() not in body:
            return body
        quoted = {mark: json.dumps(value)[1:-1] for mark, value in self.values.items()}
        return Secrets(quoted).reveal(body.decode()).encode()

    def reveal_all(self, texts: Mapping[str, str]) -> dict[str, str]:
        """`reveal` for the values of a mapping."""
        return {key: self.reveal(value) for key, value in texts.items()}


def learn_arguments(secrets: Secrets, arguments: Iterable[str]) -> None:
    """Take in the secrets of a command line."""
    secrets.learn(_SEPARATOR.join(arguments))


def take_out(text: str, secrets: Secrets) -> str:
    """A YAML text without its secrets, which `secrets` takes in; unchanged when it has none or is no YAML.

    Comments and layout stay, unless a secret is spelled in a way that only a parser reads.
    """
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return text
    taken = {int(number) for number in re.findall(rf"{MARK}(\d+)", text)}
    for number in sorted(taken):  # of an earlier reading: their values are not here
        secrets.values.setdefault(f"{MARK}{number}", f"{MARK}{number}")
    secrets.marked |= _marked(tree)
    for name, scalar in _scalars(tree):
        secrets.learn_value(name, scalar.value)
        secrets.learn(scalar.value)
    for comment in re.findall(r"(?:^|\s)#.*", text):
        secrets.learn(comment)
    hidden = secrets.hide(text)
    try:
        left = yaml.compose(hidden, Loader=yaml.SafeLoader)
    except yaml.YAMLError:  # a secret that is also a piece of syntax
        left = tree
    changed = False
    for name, scalar in _scalars(left):
        value = secrets.hide_value(name, scalar.value)
        if value != scalar.value:
            scalar.value, changed = value, True
            scalar.tag = "tag:yaml.org,2002:str"
    return yaml.serialize(left, allow_unicode=True) if changed and left is not None else hidden


def take_out_line(text: str, secrets: Secrets) -> str:
    """A URL or command without its secrets, which `secrets` takes in."""
    secrets.learn(text)
    return secrets.hide(text)


def _marked(tree: yaml.Node | None) -> frozenset[str]:
    """The names under `redact:` at the top of a scenario."""
    if not isinstance(tree, yaml.MappingNode):
        return frozenset()
    lists = (value for key, value in tree.value if key.value == "redact")
    return frozenset(
        item.value.lower()
        for node in lists
        if isinstance(node, yaml.SequenceNode)
        for item in node.value
        if isinstance(item, yaml.ScalarNode)
    )


def _scalars(
    node: yaml.Node | None, name: str = "", met: set[tuple[str, yaml.Node]] | None = None
) -> Iterator[tuple[str, yaml.ScalarNode]]:
    """Every value of a tree with the key it stands under; of a list all values stand under the list's key.

    What aliases stand for comes once a key: written out, a few of them can be billions.
    """
    met = set() if met is None else met
    if node is None or (name, node) in met:
        return
    met.add((name, node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, str(key.value), met)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _scalars(value, name, met)
    elif isinstance(node, yaml.ScalarNode) and node.tag not in (
        "tag:yaml.org,2002:bool",
        "tag:yaml.org,2002:null",
    ):
        yield name, node


def _parts(name: str, value: str) -> list[str]:
    """What is secret in a value: the credentials behind a scheme, each cookie, or all of it."""
    match = _CREDENTIALS.fullmatch(value)
    if match:
        return [match[1]]
    if "cookie" in name.lower():
        return [value, *(pair.partition("=")[2] for pair in value.split(";") if "=" in pair)]
    return [value]


def _is_scheme(word: str) -> bool:
    return word.lower() in ("bearer", "basic", "token", "digest", "apikey", "none", "null", "true", "false")


def _with_group(match: re.Match[str], mark: str | None) -> str:
    if mark is None:
        return match[0]
    start, end = match.start(1) - match.start(), match.end(1) - match.start()
    return match[0][:start] + match[0][start:end].replace(match[1].strip(), mark) + match[0][end:]
