"""The page over a real stack: each panel, and each action with its undo."""

from __future__ import annotations

import concurrent.futures
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from loadgen.score import decisions as loadgen
from tests.e2e.labkit import Lab, Labs
from tests.ui.conftest import Tab, comes, told
from tests.waiting import until

pytestmark = pytest.mark.ui
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
# Records the reason of every request that the page is ever told of, also of those that it does not keep.
RECORD = """async () => {
  const {store, listen} = await import('/static/store.js');
  window.seen = {};
  const look = () => { for (const [id, row] of store.rows) if (row.reason) window.seen[id] = row.reason; };
  listen(look); look();
}"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    labs = Labs()
    made = labs.start("--ui", "--no-live", name="page")
    made.wait_ready()
    yield made
    labs.close()


@pytest.fixture
def page(lab: Lab, tab: Tab) -> Any:
    url = (lab.state / "page" / "ui.url").read_text()
    assert f"page     {url}" in lab.text
    return tab.open(url)


def sent(lab: Lab, count: int, groups: int = 24) -> set[int]:
    """Statuses of requests with shared beginnings, one of them for a quarter of the traffic."""

    def one(number: int) -> int:
        group = 0 if number % 4 == 0 else 1 + number % (groups - 1)
        body = {"model": MODEL, "prompt": f"{group:04d}" * 400 + f" {number}", "max_tokens": 2}
        return client.post(url, json=body).status_code

    url = f"{lab.url}/v1/completions"
    with httpx.Client(timeout=30.0) as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        return set(pool.map(one, range(count)))


def send(lab: Lab, count: int) -> None:
    assert sent(lab, count) == {200}


def pod_row(page: Any, end: str) -> Any:
    return page.locator(f"tr[data-pod$='-{end}']")


def test_flow_and_timeline_show_traffic_and_a_click_filters_all(lab: Lab, page: Any) -> None:
    send(lab, 30)
    page.wait_for_selector(".flow .node[data-node^='rule:lab.inference.0']")
    for column, text in (("gateway", "lab/gateway"), ("listener", ":80"), ("pool", "inference-pool")):
        assert page.locator(f".column.{column} .node").first.inner_text().startswith(text)
    page.wait_for_selector(".flow .edges path.ok")
    assert page.locator(".column.pod .node").count() == 3
    assert "first byte +" in page.locator(".column.pod h3").inner_text()
    assert "deciding" in page.locator(".column.picker h3").inner_text()
    assert page.locator(".charts canvas").count() == 4
    node = page.locator(".column.pod .node").first
    pod = node.get_attribute("title")
    node.click()
    page.wait_for_selector("[data-filter=pod]")
    page.click("#tab-requests")
    page.wait_for_selector(".rows tbody tr")
    shown = page.locator(".rows tbody tr td[data-l=pod]").all_inner_texts()
    assert shown
    assert {text.strip() for text in shown} == {str(pod).rpartition("-")[2]}
    page.keyboard.press("Escape")
    comes(page, "document.querySelectorAll('[data-filter]').length === 0")


def test_a_thousand_reasons_of_the_page_are_those_of_the_decision_log(lab: Lab, page: Any) -> None:
    page.evaluate(RECORD)
    log = Path(lab.picker["decision_log"])

    def decided() -> dict[str, str]:
        lines = log.read_bytes().splitlines()
        decisions = [msgspec.json.decode(line, type=loadgen.Decision) for line in lines]
        return {d.request_id: loadgen.reason_of(d) for d in decisions if d.candidates}

    before = len(decided())
    for number in range(1, 6):  # the page keeps 500 rows, however many came in its last second
        send(lab, 200)
        until(lambda n=number: len(decided()) >= before + 200 * n, what="the log of the picker")
        last = set(list(decided())[before:])
        until(lambda x=last: x <= page.evaluate("window.seen").keys(), what="each of them on the page")
    theirs = decided()
    assert len(last) >= 1000
    ours = page.evaluate("window.seen")
    assert {name: ours[name] for name in last} == {name: theirs[name] for name in last}
    assert len({theirs[name] for name in last}) >= 2


def test_a_row_opens_the_decision_and_keys_go_on(lab: Lab, page: Any) -> None:
    send(lab, 5)
    page.keyboard.press("3")
    page.wait_for_selector(".rows tbody tr")
    page.locator(".rows tbody tr").first.click()
    page.wait_for_selector(".drawer [data-reason]")
    first = page.locator(".drawer h2").first.inner_text()
    assert page.locator(".drawer .candidates tbody tr").count() == 3
    assert page.locator(".drawer .candidates tr.picked .stack i").count() >= 2
    page.wait_for_selector(".drawer >> text=as picked")
    assert page.locator(".drawer code.block").inner_text().startswith("curl -s -i 'http://127.0.0.1:")
    page.keyboard.press("j")
    comes(page, "was => document.querySelector('.drawer h2')?.innerText !== was", first)
    page.keyboard.press("Escape")
    comes(page, "!document.querySelector('.drawer')")
    page.keyboard.press("/")
    comes(page, "document.activeElement?.id === 'search'")
    page.keyboard.type("no such request")
    page.wait_for_selector("text=No request fits the filter")


def test_kill_drain_restart_scale_and_their_undo(lab: Lab, page: Any) -> None:
    page.click("#tab-pods")
    page.wait_for_selector("[data-do=kill]")
    end = lab.pods[0]["name"].rpartition("-")[2]

    def state() -> str:
        return str(next(p["state"] for p in lab.pods if p["name"].endswith(end)))

    undo = page.locator(".toast >> text=Undo").click
    for command, after in (("kill", "killed"), ("drain", "drained")):
        told(page, pod_row(page, end).locator(f"[data-do={command}]").click, f"{end} {after}")
        assert state() == after
        page.wait_for_selector(f"tr[data-pod$='-{end}'] .dot.{after}")
        told(page, undo, f"{end} restarted")
        until(lambda: state() == "ready")
        page.wait_for_selector(f"tr[data-pod$='-{end}'] .dot.ready")
    told(page, pod_row(page, end).locator("[data-do=restart]").click, f"{end} restarted")
    told(page, page.locator("[data-workload] [aria-label='one pod more']").click, "3 -> 4 pods")
    comes(page, "document.querySelectorAll('tr[data-pod]').length === 4")
    told(page, lambda: page.keyboard.press("u"), "4 -> 3 pods")
    comes(page, "document.querySelectorAll('tr[data-pod]').length === 3")
    pod_row(page, end).locator("[data-do=metrics]").click()
    page.wait_for_selector(".sheet >> text=vllm:num_requests_running")
    page.keyboard.press("Escape")
    page.click("#tab-overview")
    page.click(".events summary")
    assert "killed" in page.locator(".events ol").inner_text()


def test_what_if_sliders_export_apply_and_undo(lab: Lab, page: Any) -> None:
    log = Path(lab.picker["decision_log"])

    def answered() -> None:  # Envoy may learn of the new picker a moment after the page
        until(lambda: 200 in sent(lab, 1), what="an answer by the new picker")

    def weights() -> Any:
        return json.loads(log.read_bytes().splitlines()[-1]).get("weights", {})

    send(lab, 200)
    page.click("#tab-whatif")
    weight = page.locator("[data-scorer='prefix-cache-scorer'] input[type=number]")
    weight.wait_for()
    assert weight.input_value() == "3"
    assert page.locator("[data-changed]").inner_text() == "0"
    weight.fill("0")
    weight.press("Tab")
    comes(page, "document.querySelector('.whatif')?.innerText.includes('would be drawn among several')")
    assert page.locator("[data-spread]").count() == 3
    page.click("text=Export")
    text = page.locator(".sheet pre").inner_text()
    assert re.search(r"pluginRef: prefix-cache-scorer\s+weight: 0\b", text)
    page.keyboard.press("Escape")
    told(page, page.locator("text=Apply: restart the picker").click, "restarted with another configuration")
    answered()

    until(lambda: weights()["prefix-cache-scorer"] == 0)
    told(page, page.locator(".toast >> text=Undo").click, "restarted with another configuration")
    answered()
    until(lambda: weights()["prefix-cache-scorer"] == 3)


def test_sliders_are_simulated(page: Any, lab: Any) -> None:
    send(lab, 20)
    page.click("#tab-whatif")
    weight = page.locator("[data-scorer='prefix-cache-scorer'] input[type=number]")
    weight.fill("0")
    weight.press("Tab")
    comes(page, "document.querySelectorAll('[aria-label=\"simulated scenario\"] option').length > 5")
    page.select_option("[aria-label='simulated scenario']", "steady")
    page.click("[data-simulate=start]")
    page.wait_for_selector("[data-simulate=stop]")
    comes(page, "document.querySelector('[data-simulate=figures]')?.innerText.includes('with the sliders')")
    rows = page.locator("[data-simulate=figures] tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows][:2] == ["answers", "TTFT p50"]
    assert all(len(row.split("\t")) == 3 for row in rows)


def test_load_is_started_followed_and_stopped(page: Any) -> None:
    page.click("#tab-load")
    comes(page, "document.querySelectorAll('.load select option').length > 5")
    page.select_option(".load select[aria-label=scenario]", "page")
    page.fill(".load input[type=number]", "40")
    page.press(".load input[type=number]", "Tab")
    page.click("[data-load=start]")
    page.wait_for_selector("[data-load=stop]")
    assert "loadgen run page --target http://127.0.0.1:" in page.locator(".load code.block").inner_text()
    page.click("#tab-requests")
    page.wait_for_selector(".rows tbody tr")
    page.click("#tab-load")
    page.click("[data-load=stop]")
    page.wait_for_selector("[data-load=start]")
    assert page.locator(".output").inner_text()


def test_configuration_joins_objects_with_what_envoy_runs(page: Any) -> None:
    page.click("#tab-config")
    route = page.locator("[data-object='HTTPRoute/lab/inference']")
    route.wait_for()
    assert "/v1/chat/completions" in route.inner_text()
    assert "inference-pool-ip-" in route.inner_text()
    assert "Accepted" in route.inner_text()
    pool = page.locator("[data-object='InferencePool/lab/inference-pool']").inner_text()
    assert "127.0.0." in pool
    assert "not simulated" in page.locator(".config h2").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_panel_fits(lab: Lab, browser: Any, width: int, scheme: str) -> None:
    send(lab, 10)
    tab = Tab(browser, width, scheme)
    page = tab.open((lab.state / "page" / "ui.url").read_text())
    for name in ("overview", "pods", "requests", "whatif", "load", "config"):
        page.click(f"#tab-{name}")
        page.wait_for_selector(f"#tab-{name}[aria-selected=true]")
        if name == "requests":
            page.locator(".rows tbody tr").first.click()
            page.wait_for_selector(".drawer [data-reason]")
        page.wait_for_timeout(1100)  # a tick, so that a screenshot shows what a reader sees
        tab.shot(f"{name}-{width}-{scheme}")
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, f"{name} is {over} px too wide at {width}"
        if name == "requests":
            page.keyboard.press("Escape")
    tab.context.close()
    assert tab.complaints == []
