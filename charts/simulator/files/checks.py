"""What `helm test` asserts: the page's request, an adapter, a stream, a refusal, and who answered.

Standard library only. Exit 0 when every check holds; else the checks that failed, one line each, and exit 1.
usage: checks.py URL [--model reviews-1] [--pods 1] [--server istio-envoy] [--unrouted /path] [--wait 60]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request

PROMPT = "What do reviewers think about The Comedy of Errors?"
KEYS = {"choices", "created", "id", "kv_transfer_params", "model", "object", "usage"}


def post(url, body, content_type="application/json", timeout=30):
    """Status, headers and body of one POST; an HTTP error is an answer like any other."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, dict(answer.headers.items()), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers.items()), error.read()


def wait_until_ready(base, model, seconds):
    """Polls until the target answers a completion; a gateway may be programmed after its pods are ready."""
    end = time.monotonic() + seconds
    while True:
        try:
            status, _, _ = post(
                f"{base}/v1/completions", {"model": model, "prompt": "ready?", "max_tokens": 1}
            )
            if status == 200:
                return
            last = f"status {status}"
        except OSError as error:
            last = str(error)
        if time.monotonic() > end:
            raise AssertionError(f"no answer 200 from {base} within {seconds:g} s, last: {last}")
        time.sleep(0.5)


def check_page(base, args):
    """The page's curl: JSON sent as a form, as curl -d does."""
    body = {"model": args.model, "prompt": PROMPT, "max_tokens": 100, "temperature": 0}
    status, headers, raw = post(f"{base}/v1/completions", body, "application/x-www-form-urlencoded")
    assert status == 200, f"status {status}: {raw[:200]!r}"
    answer = json.loads(raw)
    missing = KEYS - set(answer)
    assert not missing, f"the answer lacks {sorted(missing)}"
    assert answer["model"] == args.model, f"model {answer['model']!r}, asked for {args.model!r}"
    assert answer["object"] == "text_completion", f"object {answer['object']!r}"
    usage = answer["usage"]
    total = usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["total_tokens"] == total, f"usage does not add up: {usage}"
    if args.server:
        server = {k.lower(): v for k, v in headers.items()}.get("server")
        assert server == args.server, f"server {server!r}, not {args.server!r}"


def check_stream(base, args):
    """Server-sent events end with [DONE] and say why the text ended."""
    body = {"model": args.model, "prompt": PROMPT, "max_tokens": 8, "ignore_eos": True, "stream": True}
    status, headers, raw = post(f"{base}/v1/completions", body)
    kind = {k.lower(): v for k, v in headers.items()}.get("content-type", "")
    assert status == 200, f"status {status}: {raw[:200]!r}"
    assert kind.startswith("text/event-stream"), f"content-type {kind!r}"
    events = [line[6:] for line in raw.decode().split("\n") if line.startswith("data: ")]
    assert events[-1:] == ["[DONE]"], f"the last event is {events[-1:]}"
    reasons = [c["finish_reason"] for e in events[:-1] for c in json.loads(e)["choices"]]
    assert reasons[-1:] == ["length"], f"finish reasons {reasons}"


def check_unknown_model(base, args):
    """A model that nobody serves is refused with 404 and vLLM's error body."""
    status, _, raw = post(
        f"{base}/v1/completions", {"model": "no-such-model", "prompt": "x", "max_tokens": 1}
    )
    assert status == 404, f"status {status}: {raw[:200]!r}"
    assert "no-such-model" in json.loads(raw)["error"]["message"], f"body {raw[:200]!r}"


def check_unrouted(base, args):
    """A path that no route names is the gateway's 404."""
    if args.unrouted:
        status, _, _ = post(f"{base}{args.unrouted}", {"model": args.model})
        assert status == 404, f"{args.unrouted}: status {status}"


def check_spread(base, args):
    """Every answer says which pod gave it, and at least --pods pods answer."""
    pods = {}
    for i in range(20 * args.pods):
        body = {"model": args.model, "prompt": f"request {i}: {PROMPT}", "max_tokens": 1}
        status, headers, raw = post(f"{base}/v1/completions", body)
        assert status == 200, f"status {status}: {raw[:200]!r}"
        pod = {k.lower(): v for k, v in headers.items()}.get("x-inference-pod")
        assert pod, "an answer without x-inference-pod"
        pods[pod] = pods.get(pod, 0) + 1
    assert len(pods) >= args.pods, f"{len(pods)} pods answered, expected {args.pods}: {pods}"
    print("pods:", json.dumps(pods))


CHECKS = [check_page, check_stream, check_unknown_model, check_unrouted, check_spread]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="base URL, such as http://lab-simulator:8000")
    parser.add_argument("--model", default="reviews-1", help="model or adapter to ask for")
    parser.add_argument("--pods", type=int, default=1, help="least number of pods that must answer")
    parser.add_argument("--server", default="", help="expected server header; empty: not checked")
    parser.add_argument("--unrouted", default="", help="a path that must answer 404; empty: not checked")
    parser.add_argument("--wait", type=float, default=60, help="seconds to wait for the first 200")
    args = parser.parse_args(argv)
    base = args.url.rstrip("/")
    failed = 0
    try:
        wait_until_ready(base, args.model, args.wait)
    except AssertionError as error:
        print(f"FAIL ready: {error}")
        return 1
    for check in CHECKS:
        name = check.__name__.removeprefix("check_")
        try:
            check(base, args)
        except (AssertionError, OSError, ValueError, KeyError) as error:
            failed += 1
            print(f"FAIL {name}: {error}")
        else:
            print(f"ok   {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
