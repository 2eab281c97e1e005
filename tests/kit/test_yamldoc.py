import pytest

from gateway.errors import ManifestError
from kit.yamldoc import Document, load_documents

TEXT = """\
# a comment
a: 1
b:
  c: [x, y]
  d: {e: 2024-01-01}
---
- name: first
- name: second
---
"""


def documents(text: str = TEXT) -> list[Document]:
    return list(load_documents(text, "f.yaml"))


def test_every_value_knows_its_line() -> None:
    first, second = documents()
    assert [first.line_of(p) for p in [(), ("a",), ("b", "c", 1), ("b", "d", "e")]] == [2, 2, 4, 5]
    assert second.line_of((1, "name")) == 8


def test_a_missing_path_has_the_line_of_its_nearest_ancestor() -> None:
    assert documents()[0].line_of(("b", "nothing", 3)) == 3


def test_a_date_is_a_string_as_in_kubernetes() -> None:
    assert documents()[0].data["b"]["d"]["e"] == "2024-01-01"


def test_empty_documents_are_left_out() -> None:
    assert documents("---\n---\n# nothing\n") == []


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1,\n", 3, "not YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands twice"),
        ("a: 1\n? [x]\n: 2\n", 2, "key must be a string"),
    ],
)
def test_what_is_not_yaml_is_an_error_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        documents(text)
    assert (caught.value.file, caught.value.line) == ("f.yaml", line)


def test_merge_keys_and_anchors() -> None:
    (document,) = documents("base: &b {x: 1, y: 2}\nmade:\n  <<: *b\n  y: 3\n")
    assert document.data["made"] == {"x": 1, "y": 3}


def test_a_cursor_reads_typed_values() -> None:
    cursor = documents("s: x\nn: 3\nf: true\nm: {k: v}\nl: [a, b]\nnull: null\n")[0].cursor()
    assert (cursor.text("s"), cursor.number("n"), cursor.flag("f")) == ("x", 3, True)
    assert (cursor.string_map("m"), cursor.strings("l")) == ({"k": "v"}, ["a", "b"])
    assert (cursor.text("gone", "default"), cursor.opt("gone"), cursor.items("gone")) == ("default", None, [])
    assert cursor.at("l", 1).value == "b"
    assert cursor.at("l", 7).value is None


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda c: c.text("n"), r"f.yaml:1: n: must be a string, is 3"),
        (lambda c: c.number("f"), r"f.yaml:2: f: must be an integer, is True"),
        (lambda c: c.text("gone"), r"f.yaml:1: document: gone is missing"),
        (lambda c: c.child("m").text("k"), r"f.yaml:4: m.k: must be a string, is \[1\]"),
        (lambda c: c.items("m"), r"f.yaml:3: m: must be a list"),
        (lambda c: c.at("m", "k", 0).as_str(), r"f.yaml:4: m.k\[0\]: must be a string, is 1"),
    ],
)
def test_the_wrong_type_is_an_error_with_path_and_line(read: object, words: str) -> None:
    cursor = documents("n: 3\nf: true\nm:\n  k: [1]\n")[0].cursor()
    with pytest.raises(ManifestError, match=words):
        read(cursor)  # type: ignore[operator]


def test_a_part_keeps_its_lines() -> None:
    (document,) = documents("items:\n- a: 1\n- a:\n    b: 2\n")
    part = document.part(("items", 1))
    assert (part.data, part.line, part.line_of(("a", "b"))) == ({"a": {"b": 2}}, 3, 4)
