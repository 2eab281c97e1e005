"""Secrets: taken out of whatever is written, put back into whatever is sent."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from loadgen.cli import main
from loadgen.scenario.redaction import MARK, Secrets, learn_arguments, take_out
from tests.loadgen.fakes import FakeServer, Reply, Seen, answer_models, good_stream, plain

pytestmark = pytest.mark.usefixtures("patient")

KEY = "sk-Zq7vWm4TbK9rXy2LpA"
LOAD = ["--model", "m", "--users", "1", "--requests", "3", "--input-tokens", "4", "-q", "--no-selftest"]
TEMPLATE = """
name: secret
model: m
target: {target}
# a comment with a key: Authorization: Bearer {key}
redact: [x-team, tenant]
classes:
  a:
    arrival: {{users: 1, requests: 3}}
    input_tokens: 4
    {extra}
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server in a thread; what it refuses it quotes, as servers do."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    async def script(seen: Seen, reply: Reply) -> None:
        if seen.path.endswith("/v1/models"):
            await answer_models(reply, "m")
        elif seen.path == "/metrics":
            await reply.send(plain(200, "vllm:num_requests_running 0\n"))
        elif "refuse" in seen.headers:
            keys = [seen.headers.get(f"{who}authorization", "") for who in ("", "proxy-")]
            words = f"Incorrect API key provided: {' '.join(keys)}"
            await reply.send(plain(503, {"error": {"message": words}}))
        else:
            await reply.send(good_stream())

    fake, ready, stop = FakeServer(script), threading.Event(), threading.Event()

    async def serve() -> None:
        async with fake:
            ready.set()
            await asyncio.to_thread(stop.wait, 60)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    yield fake
    stop.set()
    thread.join()


def texts(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()}


def holds_nowhere(folder: Path, secret: str) -> None:
    found = texts(folder)
    assert len(found) >= 6
    coded = base64.b64encode(f"user:{secret}".encode()).decode()
    for name, text in found.items():
        for spelling in (secret, coded, secret[:-1]):
            assert spelling not in text, f"{name}: {text[max(0, text.index(spelling) - 80) :][:120]}"


def sent(server: FakeServer) -> list[Seen]:
    return [seen for seen in server.seen if seen.method == "POST"]


@pytest.mark.parametrize(
    ("flags", "header", "wanted"),
    [
        (["-H", f"Authorization: Bearer {KEY}"], "authorization", f"Bearer {KEY}"),
        (["-H", f"authorization:{KEY}"], "authorization", KEY),
        ([f"--header=AUTHORIZATION:Bearer {KEY}"], "authorization", f"Bearer {KEY}"),
        (["--header", f"x-api-key: {KEY}"], "x-api-key", KEY),
        ([f"-Hapi-key:{KEY}"], "api-key", KEY),
        (["-H", f"Cookie: lang=en; sid={KEY}"], "cookie", f"lang=en; sid={KEY}"),
        (["-H", f"Proxy-Authorization: Basic {KEY}"], "proxy-authorization", f"Basic {KEY}"),
        (["-H", f"X-Team:{KEY}", "--redact", "x-team"], "x-team", KEY),
        (["-H", f"ocp-apim-subscription-key:{KEY}"], "ocp-apim-subscription-key", KEY),
        (["--api-key", KEY], "authorization", f"Bearer {KEY}"),
        ([f"--api-key={KEY}"], "authorization", f"Bearer {KEY}"),
    ],
)
def test_no_flag_leaves_a_secret_behind(
    server: FakeServer, tmp_path: Path, flags: list[str], header: str, wanted: str
) -> None:
    out = tmp_path / "run"
    assert main(["run", "--target", server.url, *LOAD, *flags, "-o", str(out)]) == 0
    assert [seen.headers[header] for seen in sent(server)] == [wanted] * 3
    holds_nowhere(out, KEY)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "MY_KEY"])
def test_a_key_of_the_environment_is_sent_and_planned_nowhere(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, KEY)
    flags = [] if name == "OPENAI_API_KEY" else ["--api-key-env", name]
    out = tmp_path / "run"
    assert main(["run", "--target", server.url, *LOAD, *flags, "-o", str(out)]) == 0
    assert {seen.headers["authorization"] for seen in server.seen} == {f"Bearer {KEY}"}
    assert "authorization" not in (out / "plan.jsonl").read_text()
    holds_nowhere(out, KEY)
    own = ["-H", "authorization: Bearer of-the-class", "-o", str(tmp_path / "own")]
    server.seen.clear()
    assert main(["run", "--target", server.url, *LOAD, *flags, *own]) == 0
    assert {seen.headers["authorization"] for seen in sent(server)} == {"Bearer of-the-class"}


def test_the_key_of_a_proxy_is_sent_and_left_nowhere(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:{KEY}@127.0.0.1:{server.port}")
    out = tmp_path / "run"
    assert main(["run", "--target", "http://model.test", *LOAD, "-H", "refuse: yes", "-o", str(out)]) == 1
    coded = base64.b64encode(f"user:{KEY}".encode()).decode()
    assert {seen.headers["proxy-authorization"] for seen in server.seen} == {f"Basic {coded}"}
    assert {seen.path for seen in sent(server)} == {"http://model.test/v1/completions"}
    holds_nowhere(out, KEY)
    assert "Incorrect API key" in (out / "records.jsonl").read_text()
    warned = (out / "meta.json").read_text()
    assert f"the environment's proxy http://127.0.0.1:{server.port}" in warned


def test_a_key_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    target = ["--target", "http://127.0.0.1:9"]
    assert main(["run", *target, *LOAD, "--api-key-env", "NO_SUCH", "-o", str(out)]) == 2
    assert "the environment has no NO_SUCH" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    "extra",
    [
        f"headers: {{authorization: Bearer {KEY}}}",
        f'headers: {{Authorization: "Bearer {KEY}"}}',
        f"headers:\n      X-API-Key: >-\n        {KEY[:9]}\\\n        {KEY[9:]}".replace(">-", '"').replace(
            KEY[9:], KEY[9:] + '"'
        ),
        f"headers: {{x-team: '{KEY}'}}",
        f"body: {{api_key: {KEY}}}",
        f"body: {{metadata: {{tenant: {KEY}, password: {KEY}}}}}",
        f"headers: {{refuse: 'yes', authorization: Bearer {KEY}}}",
        f"headers: {{refuse: 'yes', authorization: Bearer {KEY}}}\n"
        "    retry: {attempts: 2, on: [upstream_5xx], backoff: 1ms}",
        "headers: {x-other: see}\n\ntimeline:\n  - at: 0s\n"
        f"    run: \"echo curl -H 'Authorization: Bearer {KEY}'\"",
    ],
)  # fmt: skip
def test_no_scenario_leaves_a_secret_behind(server: FakeServer, tmp_path: Path, extra: str) -> None:
    file, out = tmp_path / "s.yaml", tmp_path / "run"
    file.write_text(TEMPLATE.format(target=server.url, key=KEY, extra=extra))
    main(["run", str(file), "-q", "--no-selftest", "-o", str(out)])
    holds_nowhere(out, KEY)
    if "x-other" not in extra:
        assert any(KEY in str(seen) for seen in sent(server))
        assert MARK not in str(server.seen)
    again = tmp_path / "again"
    plan = ["--plan", str(out / "plan.jsonl")]
    main(["run", str(file), *plan, "-q", "--no-selftest", "-o", str(again)])
    holds_nowhere(again, KEY)
    assert MARK not in str(server.seen)


def test_user_and_password_of_urls(server: FakeServer, tmp_path: Path) -> None:
    out = tmp_path / "run"
    url = server.url.replace("://", f"://user:{KEY}@")
    scrapes = ["--scrape", f"{url}/metrics", "--scrape", f"{server.url}/metrics?api_key={KEY}"]
    target = ["--target", f"{url}/?api_key={KEY}"]
    main(["run", *target, *LOAD, *scrapes, "-o", str(out)])
    holds_nowhere(out, KEY)
    basic = "Basic " + base64.b64encode(f"user:{KEY}".encode()).decode()
    assert {seen.headers["authorization"] for seen in sent(server)} == {basic}
    assert basic in {seen.headers.get("authorization") for seen in server.seen if seen.path == "/metrics"}


def test_arms_and_their_hooks(server: FakeServer, tmp_path: Path) -> None:
    arms = f"""
arms:
  a:
    setup: "echo --api-key {KEY}; test $TEAM_TOKEN = {KEY}"
    teardown: "echo Authorization: Bearer {KEY}"
    env: {{TEAM_TOKEN: {KEY}}}
  b:
    target: {server.url.replace("://", f"://user:{KEY}@")}
"""
    file, out = tmp_path / "s.yaml", tmp_path / "compare"
    extra = f"headers: {{x-api-key: {KEY}}}"
    text = TEMPLATE.format(target=server.url, key=KEY, extra=extra) + arms
    file.write_text(text.replace("requests: 3", "requests: 60"))
    assert main(["compare", str(file), "--repeats", "1", "-q", "--no-selftest", "-o", str(out)]) < 3
    assert {seen.headers["x-api-key"] for seen in sent(server)} == {KEY}
    assert len(sent(server)) >= 6
    assert MARK in (out / "a.log").read_text()
    holds_nowhere(out, KEY)


def test_a_plan_holds_no_secret_and_says_what_it_lacks(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = tmp_path / "p.jsonl", tmp_path / "run"
    load = LOAD[: LOAD.index("-q")]
    assert main(["plan", *load, "-H", f"Authorization: Bearer {KEY}", "-o", str(plan)]) == 0
    assert KEY not in plan.read_text()
    run = ["run", "--plan", str(plan), "--target", server.url, "-q", "--no-selftest"]
    assert main([*run, "-o", str(tmp_path / "none")]) == 2
    assert "the plan's header authorization is a secret" in capsys.readouterr().err
    assert not sent(server)
    assert main([*run, "--api-key", KEY, "-o", str(out)]) == 0
    assert {seen.headers["authorization"] for seen in sent(server)} == {f"Bearer {KEY}"}
    holds_nowhere(out, KEY)


def test_what_is_no_secret_stays(server: FakeServer, tmp_path: Path) -> None:
    text = """
# see the docs
classes:
  a: {session_token: true, input_tokens: 4, max_tokens: 8, headers: {x-session: abcdefgh}, key: value}
"""
    secrets = Secrets()
    assert take_out(text, secrets) == text
    assert not secrets.values


def test_short_secrets_go_only_where_a_name_says_so() -> None:
    secrets = Secrets()
    text = "name: abc\nclasses: {abc: {headers: {x-api-key: abc, authorization: Bearer abc}}}\n"
    hidden = yaml.safe_load(take_out(text, secrets))
    assert hidden["name"] == "abc"
    headers = hidden["classes"]["abc"]["headers"]
    assert headers == {"x-api-key": f"{MARK}1", "authorization": f"Bearer {MARK}1"}
    assert secrets.reveal_all(headers) == {"x-api-key": "abc", "authorization": "Bearer abc"}


def test_a_hidden_text_read_again_learns_nothing_and_numbers_on() -> None:
    text = f"headers: {{authorization: Bearer {MARK}1}}\nbody: {{api_key: {KEY}}}\n"
    secrets = Secrets()
    assert take_out(text, secrets) == text.replace(KEY, f"{MARK}2")


def test_secrets_inside_json_are_quoted() -> None:
    secrets = Secrets({f"{MARK}1": 'we"ird\\'})
    assert secrets.reveal_body(f'{{"k":"{MARK}1"}}'.encode()) == b'{"k":"we\\"ird\\\\"}'


def test_command_lines() -> None:
    plain_ones = ["run", "--api-key", "-H", "--rate", "5"]
    secret = ["abc", "X-Api-Key: d e", "curl -u me:hush x", "HF_TOKEN=t1"]
    arguments = [*plain_ones[:2], secret[0], plain_ones[2], *secret[1:], *plain_ones[3:]]
    secrets = Secrets()
    learn_arguments(secrets, arguments)
    hidden = secrets.hide_arguments(arguments)
    assert len(hidden) == len(arguments)
    assert [a for a, b in zip(arguments, hidden, strict=True) if a == b] == plain_ones


def test_aliases_are_looked_at_once_a_key() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    text = "\n".join([*lines, "loop: &l [*l]", "redact: [[x], tenant]", f"k: &k {KEY}", "tenant: *k"])
    hidden = take_out(text, Secrets())
    assert KEY not in hidden
