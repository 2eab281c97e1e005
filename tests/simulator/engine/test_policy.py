"""Orderings of the waiting queue and the choice of a victim."""

from __future__ import annotations

from simulator.engine.policy import make_queue, pick_victim
from simulator.engine.request import Request
from tests.simulator.engine.build import engine, request, run, times


def asked(name: str, priority: int = 0, arrival: float = 0.0) -> Request:
    return request(name, priority=priority, arrival_time=arrival)


def test_fcfs() -> None:
    queue = make_queue("fcfs")
    a, b, c, d = (asked(name) for name in "abcd")
    queue.push(a)
    queue.push(b)
    queue.prepend(c)
    queue.prepend_all([d])
    assert list(queue) == [d, c, a, b]
    queue.remove(c)
    assert (queue.peek(), queue.pop(), len(queue)) == (d, d, 2)
    queue.prepend_all([c, d])
    assert list(queue) == [c, d, a, b]


def test_priority_then_arrival_then_id() -> None:
    queue = make_queue("priority")
    low, late, early, twin = asked("a", 5), asked("b", 1, 2.0), asked("c", 1, 1.0), asked("d", 1, 1.0)
    for one in (low, late, twin):
        queue.push(one)
    queue.prepend(early)
    assert list(queue) == [early, twin, late, low]
    queue.remove(late)
    assert [queue.pop() for _ in range(len(queue))] == [early, twin, low]


def test_victims() -> None:
    running = [asked("a", 1, 5.0), asked("b", 2, 1.0), asked("c", 2, 3.0), asked("d", 0, 9.0)]
    assert pick_victim("fcfs", running).request_id == "d"
    assert pick_victim("priority", running).request_id == "c"


def test_priority_admits_the_urgent_first() -> None:
    made = engine(max_num_seqs=1, scheduling_policy="priority")
    for name, priority in (("a", 0), ("b", 5), ("c", 1)):
        made.add_request(request(name, 10, 2, priority=priority), 0.0)
    steps = run(made)
    assert [times(steps, name)[0] for name in "abc"] == [1.0, 5.0, 3.0]


def test_fcfs_ignores_priority() -> None:
    made = engine(max_num_seqs=1)
    for name, priority in (("a", 5), ("b", 0)):
        made.add_request(request(name, 10, 2, priority=priority), 0.0)
    assert times(run(made), "b")[0] == 3.0


def test_a_preempted_request_comes_back_first_and_sends_nothing_twice() -> None:
    made = engine(block_size=4, num_gpu_blocks=8, max_model_len=64)
    made.add_request(request("a", 10, 16), 0.0)
    made.add_request(request("b", 10, 16), 0.0)
    made.add_request(request("c", 4, 2), 0.5)
    steps = run(made)
    assert ["b"] in [step.preempted for step in steps]
    assert any("b" in step.resumed for step in steps)
    assert [len(times(steps, name)) for name in "abc"] == [16, 16, 2]
