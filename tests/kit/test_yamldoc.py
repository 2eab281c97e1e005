from __future__ import annotations

import pytest

from kit import yamldoc
from kit.errors import DocumentError
from kit.yamldoc import Document, load_documents, load_value, show_path

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
    return list(load_documents(text, "f.yaml", DocumentError))


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
        ("a: 1\nb: 2\na: 3\n", 3, "a: stands twice; keep one"),
        ("a: 1\n? [x]\n: 2\n", 2, "key must be a string"),
    ],
)
def test_what_is_not_yaml_is_an_error_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(DocumentError, match=words) as caught:
        documents(text)
    assert (caught.value.file, caught.value.line) == ("f.yaml", line)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: &x\n  c: *x\n", 2, "b.c: an alias stands for what it stands in"),
        ("a: 1\nb: &x [1, *x]\n", 2, r"b\[1\]: an alias stands for what it stands in"),
        ("a: 1\nb: !!int x\n", 2, "b: 'x' is no value of"),
        ("a: 1\nb: !!int ''\n", 2, "b: '' is no value of"),
        ("a: 1\nb: !!bool x\n", 2, "b: 'x' is no value of"),
        ("a: 1\nb: !!timestamp x\n", 2, "b: 'x' is no value of"),
        ("a: 0b_\n", 1, "a: '0b_' is no value of"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "not YAML: could not determine a constructor"),
        ("a: 1\nb: " + "[" * 2000 + "]" * 2000, 2, "nested too deeply"),
    ],
)
def test_what_cannot_be_a_value_is_an_error_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(DocumentError, match=words) as caught:
        documents(text)
    assert (caught.value.file, caught.value.line) == ("f.yaml", line)


def test_a_few_aliases_that_spell_billions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamldoc, "MOST_VALUES", 1000)
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    with pytest.raises(DocumentError, match=r"f.yaml:[0-9]+: .*more than 1000 values"):
        documents("\n".join(lines))
    monkeypatch.undo()
    with pytest.raises(DocumentError, match=r"f.yaml:[0-9]+: .*aliases stand for nearly everything"):
        documents("\n".join(lines))


def test_aliases_that_repeat_a_little_are_read() -> None:
    lines = ["base: &b {x: [1, 2, 3]}", *(f"use{i}: {{own: {i}, more: *b}}" for i in range(400))]
    (document,) = documents("\n".join(lines))
    assert document.data["use399"] == {"own": 399, "more": {"x": [1, 2, 3]}}


@pytest.mark.parametrize("merge", ["[*a{0}, *a{0}]", "*a{0}, also: *a{0}"])
def test_merge_keys_do_not_double(merge: str) -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{<<: {merge.format(i - 1)}, k{i}: {i}}}" for i in range(1, 9)]
    (document,) = documents("\n".join(lines))
    assert {"x": 1, "k1": 1, "k8": 8}.items() <= document.data["a8"].items()


def test_long_chains_of_merge_keys_are_refused() -> None:
    lines = ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 60))]
    (document,) = documents("\n".join(lines))
    assert document.data["a59"] == {"x": 1}
    wide = ["a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(1000)) + "}"]
    wide.append("b: {<<: [" + ", ".join(["*a0"] * 1001) + "]}")
    with pytest.raises(DocumentError, match=r"f.yaml:1: b: more than 1000000 values"):
        documents("\n".join(wide))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a {<<: *a}", "f.yaml:1: a: an alias stands for what it stands in"),
        ("a: &a\n  b: {<<: *a}", "f.yaml:1: a.b: an alias stands for what it stands in"),
        ("a:\n  <<: 3", "f.yaml:2: a: `<<` takes a mapping or a list of mappings"),
        ("a:\n  <<: [{x: 1}, [y]]", "f.yaml:2: a: `<<` takes a mapping or a list of mappings"),
        ("{<<: " * 800 + "{}" + "}" * 800, "f.yaml:1: not to be read: nested too deeply"),
    ],
)
def test_merge_keys_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(DocumentError) as caught:
        documents(text)
    assert str(caught.value) == words


def test_whoever_is_merged_first_wins_and_own_keys_win_over_all() -> None:
    (document,) = documents("a: &a {x: 1, y: 1, z: 1}\nb: &b {x: 2, y: 2}\nc: {y: 3, <<: [*b, *a]}\n")
    assert document.data["c"] == {"x": 2, "y": 3, "z": 1}
    assert document.line_of(("c", "z")) == 1
    assert document.line_of(("c", "y")) == 3


def test_a_document_is_as_long_as_a_request_to_the_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "a: " + "x" * (3 * 1024 * 1024)
    for text, line in ((long, 1), (f"a: 1\n---\n{long}", 2), (f"{long}\n--- \na: 1", 1)):
        with pytest.raises(DocumentError, match=rf"^f.yaml:{line}: a document of more than 3 MiB"):
            documents(text)
    monkeypatch.setattr(yamldoc, "MOST_CHARACTERS", 30)
    assert len(documents("a: aaaaaaaaaaaa\n---\nb: bbbbbbbbbbbb\n...\n---\nc: ---cc\n")) == 3


def test_the_value_of_one_document() -> None:
    assert load_value("a: {b: 2024-01-01}", "f", DocumentError) == {"a": {"b": "2024-01-01"}}
    assert load_value("# nothing", "f", DocumentError) is None
    with pytest.raises(DocumentError, match=r"^f:3: holds a second document"):
        load_value("a: 1\n---\nb: 1", "f", DocumentError)


def test_a_key_cannot_forge_the_line_of_an_error() -> None:
    with pytest.raises(DocumentError) as caught:
        documents('"a\\nERROR\\e[2J": {x: 1, x: 2}')
    assert str(caught.value) == "f.yaml:1: a\\nERROR\\x1b[2J.x: stands twice; keep one"


def test_a_control_character_is_not_text() -> None:
    with pytest.raises(DocumentError, match=r"f.yaml: not text: .* at character 5"):
        documents("é: xx\x07")


def test_scalars_that_are_no_strings_are_kept_as_written() -> None:
    (document,) = documents("a: 010\nb: on\nc: [~, 1.50, x]\nd: 1:30\n")
    assert document.data == {"a": 8, "b": True, "c": [None, 1.5, "x"], "d": 90}
    assert document.written == {("a",): "010", ("b",): "on", ("c", 0): "~", ("c", 1): "1.50", ("d",): "1:30"}
    assert document.part(("c",)).written == {(0,): "~", (1,): "1.50"}


@pytest.mark.parametrize(
    ("file", "line", "shown"),
    [(None, None, "bad"), ("f", None, "f: bad"), ("f", 0, "f: bad"), ("f", 3, "f:3: bad"), (None, 3, "bad")],
)
def test_an_error_says_where(file: str | None, line: int | None, shown: str) -> None:
    error = DocumentError("bad", file, line)
    assert (str(error), error.message, error.file, error.line) == (shown, "bad", file, line)


def test_errors_are_of_the_class_that_the_document_was_loaded_with() -> None:
    class OurError(DocumentError):
        pass

    with pytest.raises(OurError):
        list(load_documents("a: [", "f.yaml", OurError))
    (document,) = load_documents("a: 1", "f.yaml", OurError)
    assert type(document.cursor().error("x")) is OurError
    assert type(document.part(()).cursor().error("x")) is OurError


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
    with pytest.raises(DocumentError, match=words):
        read(cursor)  # type: ignore[operator]


def test_a_part_keeps_its_lines() -> None:
    (document,) = documents("items:\n- a: 1\n- a:\n    b: 2\n")
    part = document.part(("items", 1))
    assert (part.data, part.line, part.line_of(("a", "b"))) == ({"a": {"b": 2}}, 3, 4)


def test_a_cursor_knows_where_it_stands() -> None:
    cursor = documents("a: 1\nb:\n  c:\n  - d: x\n")[0].cursor()
    item = cursor.child("b").items("c")[0]
    assert (item.file, item.line, item.where, item.path) == ("f.yaml", 4, "f.yaml:4", ("b", "c", 0))
    assert item.has("d")
    assert not item.has("e")
    assert not item.at("d").has("e")
    assert str(item.error("is bad")) == "f.yaml:4: b.c[0]: is bad"
    assert str(item.error("is bad", "d")) == "f.yaml:4: b.c[0].d: is bad"


def test_null_is_missing_as_in_kubernetes() -> None:
    cursor = documents("a: null\nm: {x: null, y: z}\n")[0].cursor()
    assert (cursor.text("a", "default"), cursor.opt("a"), cursor.string_map("m")) == (
        "default",
        None,
        {"y": "z"},
    )
    with pytest.raises(DocumentError, match="document: a is missing"):
        cursor.child("a")


@pytest.mark.parametrize(
    ("path", "shown"), [((), "document"), (("a",), "a"), (("a", 0, "b", "c"), "a[0].b.c"), ((1,), "[1]")]
)
def test_paths_are_shown_as_people_write_them(path: tuple[str | int, ...], shown: str) -> None:
    assert show_path(path) == shown
