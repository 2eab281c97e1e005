"""What names begin with alike, and how they are shown without it."""

from __future__ import annotations

import pytest

from kit.printable import common_beginning, shortened


@pytest.mark.parametrize(
    ("names", "joints", "least", "beginning"),
    [
        (["a-b-c", "a-b-d"], "-", 1, "a-b-"),
        (["a-b-c", "a-b-d"], "-", 5, ""),
        (["a-bc", "a-bd"], "-", 1, "a-"),
        (["a.b-c", "a.b-c"], "-.", 1, ""),
        (["a.bx", "a.by"], "-.", 1, "a."),
        (["one"], "-", 1, ""),
        ([], "-", 1, ""),
    ],
)
def test_up_to_a_joint(names: list[str], joints: str, least: int, beginning: str) -> None:
    assert common_beginning(names, joints, least) == beginning


def test_a_mark_stands_for_it() -> None:
    assert shortened(["a-b", "a-c"], "a-", "~") == {"a-b": "~b", "a-c": "~c"}
    assert shortened(["a", "b"], "", "~") == {"a": "a", "b": "b"}
