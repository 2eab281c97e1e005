"""The page over stacks that are empty, gone, large, or full of hostile names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.gateway.ui.fake import FakeStack, candidate, pod
from tests.ui.conftest import Tab, comes

pytestmark = pytest.mark.ui
A = "127.77.0.2:8000"
Make = Callable[..., FakeStack]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[FakeStack] = []

    def one(pods: list[dict[str, Any]], **fields: Any) -> FakeStack:
        made.append(FakeStack(pods, **fields))
        return made[-1]

    yield one
    for stack in made:
        stack.close()


def every_panel(tab: Tab, page: Any) -> Iterator[str]:
    for name in ("overview", "pods", "requests", "whatif", "load", "config"):
        page.click(f"#tab-{name}")
        page.wait_for_selector(f"#tab-{name}[aria-selected=true]")
        yield name


def test_an_empty_stack_says_what_is_missing(make: Make, tab: Tab) -> None:
    stack = make([], gateways=[], pools=[], pickers=[], url=None)
    page = tab.open(stack.url)
    said = {name: page.locator("main").inner_text() for name in every_panel(tab, page)}
    assert "no traffic yet" in said["overview"]
    assert "No pods" in said["pods"]
    assert "No requests yet" in said["requests"]
    page.click("#tab-whatif")
    page.wait_for_selector("text=No scored decision yet")
    assert "no gateway to send to" in said["load"]
    tab.shot("empty")


def test_a_stack_that_ends_and_a_server_that_ends(make: Make, tab: Tab) -> None:
    stack = make([pod("a", 0)])
    page = tab.open(stack.url)
    stack.end_control()
    page.wait_for_selector(".alarm >> text=cannot be asked")
    assert page.locator(".top h1 .dot.killed").count() == 1
    page.click("#tab-pods")
    page.wait_for_selector("tr[data-pod]")  # what was last known stays
    stack.run(stack.server.stop())
    page.wait_for_selector(".alarm >> text=does not answer")
    tab.complaints.clear()  # the browser says that the connection is refused, and is right


def test_without_the_token_nothing_is_shown(make: Make, tab: Tab) -> None:
    stack = make([pod("a", 0)])
    tab.page.goto(stack.url.replace("let-me-in", "wrong"))
    tab.page.wait_for_selector("text=the token is missing or wrong")
    assert "a" not in tab.page.locator("#app").inner_text().split()
    tab.complaints.clear()  # the 401s


def test_a_hundred_pods_are_a_map_and_a_list(make: Make, tab: Tab) -> None:
    pods = [pod(f"server-abcdefgh-{i:05d}", i, state="killed" if i == 7 else "ready") for i in range(100)]
    stack = make(pods)
    page = tab.open(stack.url)
    for number in range(300):
        name = f"server-abcdefgh-{number % 100:05d}"
        place = f"127.77.0.{2 + number % 100}:8000"
        others = [candidate(f"server-abcdefgh-{i:05d}", f"127.77.0.{2 + i}:8000", 0.5, 0.0) for i in range(8)]
        mine = [candidate(name, place, 1.0, 0.5)]
        stack.send(
            f"r-{number}",
            place,
            time=time.time(),
            candidates=[*mine, *(o for o in others if o["endpoint"] != place)],
        )
    page.wait_for_selector(".podmap .cell.bad")
    assert page.locator(".podmap .cell").count() == 100
    page.click("#tab-pods")
    comes(page, "document.querySelectorAll('tr[data-pod]').length === 100")
    page.click("#tab-requests")
    comes(page, "document.querySelector('.requests h2 small')?.innerText.startsWith('300')")
    page.click("text=show all 300")
    comes(page, "document.querySelectorAll('.rows tbody tr').length === 300")
    page.click("#tab-whatif")
    page.wait_for_selector("text=the 30 of 100 pods that change most")
    tab.shot("hundred-pods")


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "{{constructor.constructor('alert(1)')()}}",
    "javascript:alert(1)",
    "\u202etxt.exe\x1b]0;title\x07",
    "${alert(1)}`'\"",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(make: Make, tab: Tab, name: str) -> None:
    """Of pods, models, adapters, routes, pickers, scenarios of logs, events, findings: shown, never run."""
    stack = make(
        [pod(name, 0, models=[name], adapters=[name], workload=name, namespace=name)],
        name=name,
        notes=[name],
        events=[f"pod {name} killed"],
    )
    stack.status["pickers"][0]["name"] = stack.status["pools"][0]["picker"] = name
    stack.status["gateways"][0]["name"] = name
    condition = dict.fromkeys(("object", "gateway", "reason", "message"), name)
    condition |= {"type": "Accepted", "status": False}
    one = {"kind": "HTTPRoute", "namespace": name, "name": name, "api_version": name, "where": name}
    finding = dict.fromkeys(("rule", "severity", "where", "message", "consequence", "mend"), name)
    stack.objects = {
        "objects": [
            {**one, "becomes": name, "conditions": [condition]},
            {**one, "becomes": None, "conditions": []},
        ],
        "findings": [finding],
        "notes": [name],
    }
    odd = candidate(name, A, 1.0, 1.0)
    odd["scores"][name] = 1.0
    stack.send(
        name,
        A,
        time=time.time(),
        candidates=[odd, candidate("b", "b:1", 1, 0, removed_by=name, total=None)],
        model=name,
        route=name,
        client_id=name,
        path=f"/{name}",
    )
    page = tab.open(stack.url)
    page.wait_for_selector(".column.rule .node")
    for panel in every_panel(tab, page):
        if panel == "requests":
            page.locator(".rows tbody tr").first.click()
            page.wait_for_selector(".drawer [data-reason]")
        if panel == "config":
            page.wait_for_selector("[data-object]")
        assert page.locator("main img, main script, main iframe").count() == 0
        assert "\u202e" not in page.locator("body").inner_text()
    page.click("#tab-pods")
    assert (
        page.locator("tr[data-pod] .name")
        .inner_text()
        .strip()
        .startswith(name[:4].replace("\u202e", "\\u202e")[:4])
    )
    page.click("[data-do=kill]")
    page.wait_for_selector(".toast")
    assert stack.told[-1] == ("kill", {"name": name}), "what is sent is the name itself"
    assert page.evaluate("document.title") == "simfleet"


def test_a_refusal_is_shown_and_any_further_command_has_a_form(make: Make, tab: Tab) -> None:
    stack = make([pod("immortal", 0)])
    page = tab.open(stack.url)
    page.click("#tab-pods")
    page.click("[data-do=kill]")
    page.wait_for_selector(".toast.bad >> text=pod immortal cannot be killed")
    page.click(".more summary")
    form = page.locator("form[data-command=fault]")
    form.locator("input[type=text]").fill("immortal")
    form.locator("input[type=number]").fill("2.5")
    form.locator("input[type=checkbox]").check()
    form.locator("button").click()
    page.wait_for_selector(".toast >> text=2.5 times as slow")
    assert stack.told[-1] == ("fault", {"pod": "immortal", "slow": 2.5, "hang": True})
    tab.complaints.clear()  # the browser's own line about the 409


def test_a_drag_over_the_timeline_filters_by_time(make: Make, tab: Tab) -> None:
    stack = make([pod("a", 0)])
    page = tab.open(stack.url)
    stack.send(
        "r", A, time=time.time(), candidates=[candidate("a", A, 1.0, 1.0), candidate("b", "b:1", 1, 0)]
    )
    page.wait_for_selector(".u-over")
    box = page.locator("[data-chart=rate] .u-over").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 20, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, y, steps=4)
    page.mouse.up()
    page.wait_for_selector("[data-filter=time]")
    page.click("[data-filter=time]")
    comes(page, "document.querySelectorAll('[data-filter]').length === 0")


def test_an_hour_of_ticks_leaks_nothing(make: Make, tab: Tab) -> None:
    """Rings of the page are bounded: 3600 ticks of 500 rows are told to it as fast as it takes them.

    What the heap holds after garbage collection, once the rings are full, is what it holds at the end.
    """
    stack = make([pod("a", 0)])
    page = tab.open(stack.url)
    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable")
    heap = []
    for first in range(0, 3600, 1200):
        sizes = page.evaluate(
            """async first => {
              const {receive, store} = await import('/static/store.js');
              const tick = n => receive({
                point: {t: n, n: 500, bad: 0, p50: 1, p90: 2, tokens: 1, running: 1, waiting: 0,
                  picks: {a: 500}},
                rows: Array.from({length: 500},
                  (_, i) => ({id: `${n}-${i}`, time: n, pod: 'a', status: 200})),
                events: [{t: n, text: 'x'}]});
              for (let n = first; n < first + 1200; n++) {
                tick(n);
                if (n % 100 === 0) await new Promise(requestAnimationFrame);
              }
              await new Promise(requestAnimationFrame);
              const elements = document.querySelectorAll('*').length;
              return [store.rows.size, store.points.length, store.events.length, elements];
            }""",
            first,
        )
        tools.send("HeapProfiler.collectGarbage")
        metrics = {m["name"]: m["value"] for m in tools.send("Performance.getMetrics")["metrics"]}
        heap.append(metrics["JSHeapUsedSize"] / 1e6)
    assert heap[-1] < heap[0] + 2, heap  # MB
    assert sizes[0] <= 500
    assert sizes[1] <= 900
    assert sizes[2] <= 200
    assert sizes[3] < 2000
