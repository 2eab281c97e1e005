"""What a connection may keep: windows for what comes, one budget for what waits."""

from __future__ import annotations

import pytest

from gateway.picker.wire.frames import PREFACE, H2Error, frame
from gateway.picker.wire.h2 import H2Connection
from gateway.picker.wire.limits import CONNECTION_WINDOW, OUT, STREAM_WINDOW, UNREAD, Held
from tests.gateway.picker.wire.test_h2 import DATA, RST, SETTINGS, WINDOW, Heard, frames, opened

FULL = b"x" * 16384


def connected(held: Held | None = None) -> H2Connection:
    connection = H2Connection(Heard(), held)
    connection.receive(PREFACE + frame(SETTINGS, 0, 0))
    connection.take()
    return connection


def kinds(connection: H2Connection) -> list[tuple[int, int]]:
    return [(kind, stream_id) for kind, _, stream_id, _ in frames(connection.take())]


def test_held_leaves_room_for_the_small() -> None:
    held = Held(1000)
    assert held.take(500, 0)
    assert not held.take(300, 0)  # as much as is free, and it would be half of that
    assert held.take(100, 0)
    held.give(600)
    assert held.total == 0


def test_credit_comes_when_half_a_window_has_come() -> None:
    connection = connected()
    opened(connection)
    for _ in range(STREAM_WINDOW // 2 // len(FULL)):
        assert kinds(connection) == []
        connection.receive(frame(DATA, 0, 1, FULL))
    assert kinds(connection) == [(WINDOW, 1)]


def test_who_leaves_answers_unread_has_no_credit_and_may_not_go_beyond_it() -> None:
    connection = connected()
    opened(connection)
    connection.send_data(1, b"y" * (65535 + UNREAD))
    connection.take()
    for _ in range(STREAM_WINDOW // len(FULL)):
        connection.receive(frame(DATA, 0, 1, FULL))
    assert kinds(connection) == []
    connection.receive(frame(DATA, 0, 1, b"z"))
    assert kinds(connection) == [(RST, 1)]


def test_credit_comes_late_once_answers_are_read() -> None:
    connection = connected()
    opened(connection)
    connection.send_data(1, b"y" * (65535 + UNREAD))
    for _ in range(STREAM_WINDOW // len(FULL)):
        connection.receive(frame(DATA, 0, 1, FULL))
    connection.take()
    connection.receive(frame(WINDOW, 0, 0, (1 << 20).to_bytes(4, "big")))
    connection.receive(frame(WINDOW, 0, 1, (1 << 20).to_bytes(4, "big")))
    assert (WINDOW, 1) in kinds(connection)


def test_the_connection_has_a_window_too() -> None:
    connection = connected()
    count = CONNECTION_WINDOW // 2 // len(FULL)
    for number in range(count):
        stream_id = 2 * number + 1
        opened(connection, stream_id)
        connection.receive(frame(DATA, 0, stream_id, FULL))
    assert kinds(connection) == [(WINDOW, 0)]


def test_what_nobody_reads_is_bounded_for_all_streams_together() -> None:
    held = Held(200_000)
    one, other = connected(held), connected(held)
    for connection in (one, other):
        connection.pause(True)
        connection.take()
        opened(connection)
    one.send_data(1, b"x" * 90_000)
    other.send_data(1, b"x" * 90_000)
    assert (kinds(one), kinds(other)) == ([], [(RST, 1)])
    one.close()
    assert held.total == 0


def test_a_window_update_lets_streams_go_on_in_turn() -> None:
    connection = connected()
    connection.receive(frame(SETTINGS, 0, 0, b"\0\4\0\x10\0\0"))
    for stream_id in (1, 3, 5):
        opened(connection, stream_id)
        connection.send_data(stream_id, b"x" * 65535)
    connection.take()
    for expected in (3, 5, 3):
        connection.receive(frame(WINDOW, 0, 0, (100).to_bytes(4, "big")))
        assert kinds(connection) == [(DATA, expected)]


def test_a_socket_gets_as_much_as_one_write_should_be() -> None:
    connection = connected()
    wide = (2**31 - 1 - 65535).to_bytes(4, "big")
    connection.receive(frame(SETTINGS, 0, 0, b"\0\4\x7f\xff\xff\xff") + frame(WINDOW, 0, 0, wide))
    opened(connection)
    connection.take()
    connection.send_data(1, b"x" * 3 * OUT)
    connection.pause(True)
    assert OUT <= len(connection.take()) < OUT + 1000
    assert connection.take_more() == b""
    connection.pause(False)
    assert OUT <= len(connection.take_more()) < OUT + 1000


def test_a_turn_ends_and_the_next_goes_on() -> None:
    connection = connected()
    ping = frame(6, 0, 0, b"12345678")
    assert connection.receive(ping * 3, until=0.0)
    assert len(kinds(connection)) == 1
    assert not connection.receive(b"")
    assert len(kinds(connection)) == 2


def test_streams_that_broke_a_rule_may_still_send_a_little() -> None:
    connection = connected()
    opened(connection)
    connection.receive(frame(WINDOW, 0, 1, bytes(4)) + frame(DATA, 0, 1, b"did not know"))
    assert kinds(connection) == [(RST, 1)]
    with pytest.raises(H2Error):
        connection.receive(frame(DATA, 0, 3, b"never opened"))
