"""JSON as Go writes it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.picker.wire import gojson


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (5.0, "5"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (12345678901234567890.0, "12345678901234567000"),
        (-1e16, "-10000000000000000"),
        (9007199254740992.0, "9007199254740992"),
        (1e-6, "0.000001"),
        (1.25e-6, "0.00000125"),
        (1e-7, "1e-7"),
        (-1.5e-5, "-0.000015"),
        (123456789.125, "123456789.125"),
    ],
)
def test_floats(value: float, text: str) -> None:
    assert gojson.format_float(value) == text


def test_encode_sorts_normalises_and_escapes() -> None:
    raw = b'{"b": 1.0, "a": "<x>&\\u2028", "c": [1, 2.50, null, true, {"z": 1e3, "y": 9007199254740993}]}'
    assert gojson.encode(gojson.decode(raw)) == (
        b'{"a":"\\u003cx\\u003e\\u0026\\u2028","b":1,"c":[1,2.5,null,true,{"y":9007199254740992,"z":1000}]}'
    )


def test_long_lists_of_token_ids_stay_as_they_are() -> None:
    ids = list(range(1000))
    assert gojson.encode({"prompt": ids}) == json.dumps({"prompt": ids}, separators=(",", ":")).encode()


def test_broken_text_becomes_replacement_characters() -> None:
    decoded = gojson.decode(b'{"a":"\xff","b":"\\ud800","c":"\\ud83d\\ude00"}')
    assert decoded == {"a": "\ufffd", "b": "\ufffd", "c": "\U0001f600"}


@pytest.mark.parametrize("raw", [b"", b"{", b'{"a":}', b"[NaN]", b'{"a":1e400}', b"{} x"])
def test_what_is_no_json(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the parser's
        gojson.decode(raw)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
def test_encoding_keeps_the_value(value: object) -> None:
    # Every number is a float64 in Go.
    assert json.loads(gojson.encode(value), parse_int=float) == json.loads(json.dumps(value), parse_int=float)


@pytest.mark.parametrize(
    ("opening", "inner", "closing"), [(b"[", b"1", b"]"), (b'{"a":', b"1", b"}"), (b"[", b'"\\ud800"', b"]")]
)
@pytest.mark.parametrize("levels", [gojson.DEPTH + 1, 900, 10_000])
def test_too_deep_is_an_error(opening: bytes, inner: bytes, closing: bytes, levels: int) -> None:
    with pytest.raises(ValueError, match="exceeded max depth"):
        gojson.decode(opening * levels + inner + closing * levels)
    allowed = gojson.decode(opening * gojson.DEPTH + inner + closing * gojson.DEPTH)
    assert gojson.decode(gojson.encode(allowed)) == allowed


def test_many_brackets_are_not_deep() -> None:
    assert gojson.decode(b"[" + b"[{}]," * 1000 + b'"[[["]')[-1] == "[[["


@pytest.mark.parametrize("digits", [400, 5000])
def test_integers_beyond_a_float64(digits: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - who says it depends on the digits
        gojson.encode(gojson.decode(b'{"a":' + b"1" * digits + b"}"))


def test_too_many_values_are_an_error_unless_they_stand_in_a_string() -> None:
    for raw in (b"[" + b"[]," * gojson.CONTAINERS + b"1]", b"[" + b"1," * (gojson.VALUES + 1) + b"1]"):
        with pytest.raises(ValueError, match="more than 100000 arrays"):
            gojson.decode(raw)
        assert gojson.decode(json.dumps(raw.decode() + '"').encode()) == raw.decode() + '"'


def test_lists_of_numbers() -> None:
    assert gojson.encode([1.0, 2.5, 1e21, 2**53 + 1, -0.0]) == b"[1,2.5,1e+21,9007199254740992,-0]"
    with pytest.raises(gojson.NumberError):
        gojson.encode([1.5, 10**400])
