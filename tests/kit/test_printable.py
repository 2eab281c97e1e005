"""Texts of others on a terminal and in a log."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console
from rich.table import Table

from kit.errors import DocumentError
from kit.printable import LineFormatter, cell, on_terminal, one_line

HOSTILE = "a\x1b]0;title\x07b\rc\x9bd\u2028e\u202ef\x00g\udc80h"
HARMLESS = "a\\x1b]0;title\\x07b\\rc\\x9bd\\u2028e\\u202ef\\x00g\\udc80h"


def test_control_characters_are_shown_by_their_escapes() -> None:
    assert on_terminal(HOSTILE) == one_line(HOSTILE) == HARMLESS
    every = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
    assert one_line(every).isprintable()
    assert set(on_terminal(every)) - set(one_line(every)) == {"\t", "\n"}


@pytest.mark.parametrize(
    "text", ["", "plain [/] \\x1b", "é ☃ 模型 \u200d👩\u200d🚀 \u00a0", "right to left: שלום"]
)
def test_letters_of_every_script_stay(text: str) -> None:
    assert on_terminal(text) == one_line(text) == text


def test_only_a_terminal_keeps_lines() -> None:
    assert on_terminal("a\n\tb") == "a\n\tb"
    assert one_line("a\n\tb") == "a\\n\\tb"


@pytest.mark.parametrize("text", ["[/]", "[bold]x", "[link=file:///x]y[/link]", ":bomb:", HOSTILE, "a\nb"])
def test_a_cell_is_no_markup(text: str) -> None:
    out = io.StringIO()
    table = Table(title=cell(text))
    table.add_column(cell(text))
    table.add_row(cell(text))
    Console(file=out, width=200, force_terminal=True, color_system=None).print(table)
    assert out.getvalue().count(one_line(text)) == 3
    assert "\x1b]0" not in out.getvalue()


def test_the_place_of_an_error_is_one_line() -> None:
    assert str(DocumentError("wrong", "a\nb\x1b.yaml", 3)) == "a\\nb\\x1b.yaml:3: wrong"


def test_no_message_begins_a_line_of_a_log() -> None:
    out = io.StringIO()
    log = logging.Logger("here")
    handler = logging.StreamHandler(out)
    handler.setFormatter(LineFormatter("%(levelname)s %(message)s"))
    log.addHandler(handler)
    log.info("x\nERROR %s", "forged\x1b[2J")
    try:
        raise ValueError("y\nERROR forged\r\x1b[2J")
    except ValueError:
        log.exception("failed")
    lines = out.getvalue().splitlines()
    assert lines[0] == "INFO x\\nERROR forged\\x1b[2J"
    assert lines[1] == "ERROR failed"
    assert all(line.startswith("  ") for line in lines[3:]), lines
    assert lines[-1] == "  ERROR forged\\r\\x1b[2J"
