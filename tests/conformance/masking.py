"""Recorded answers and how to compare them: everything but ids, times, generated text and values is exact.

A recording is a text file of cases as `capture.py` writes them: `##### name`, `> request`, `< status` with
headers, body. `normalise` turns an answer into something that compares equal when a client could not tell two
servers apart.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

IDS = re.compile(
    r"\b(cmpl-|chatcmpl-tool-|chatcmpl-|generate-tokens-|resp_|msg_|fc_|modelperm-)[0-9a-f]{16,32}\b"
)
FINGERPRINT = re.compile(r"vllm-0\.33\.0-[0-9a-f]{8}")
TIMES = {"created", "created_at"}
TEXTS = {"text", "content", "delta", "token", "decoded_token"}
VALUES = {"logprob", "token_logprobs", "rank", "text_offset", "bytes"}


@dataclass(frozen=True)
class Answer:
    """One recorded or received answer."""

    status: int
    headers: dict[str, str]
    body: str


def read_recording(text: str) -> dict[str, Answer]:
    """The cases of a recording by name."""
    cases = {}
    for block in text.split("##### ")[1:]:
        name, _, rest = block.partition("\n")
        _request, _, rest = rest.partition("\n")
        answer, _, body = rest.partition("\n")
        status, _, headers = answer.removeprefix("< ").partition(" ")
        cases[name.strip()] = Answer(
            int(status) if status != "None" else 0, json.loads(headers or "{}"), body.strip("\n")
        )
    return cases


def normalise(answer: Answer) -> tuple[int, dict[str, str], Any]:
    """What must be equal."""
    headers = {name.lower(): value for name, value in answer.headers.items() if name.lower() != "date"}
    body = normalise_body(answer.body)
    if answer.status == 200:
        headers.pop("content-length", None)  # follows from the text
    return answer.status, headers, body


def normalise_body(body: str) -> Any:
    """JSON and events with masks; any other text as it stands."""
    if body.startswith(("data:", "event:")):
        return [_event(event) for event in body.split("\n\n") if event.strip()]
    try:
        return json.dumps(_mask(json.loads(body)), ensure_ascii=False)
    except json.JSONDecodeError:
        return FINGERPRINT.sub("<fingerprint>", IDS.sub(r"\1<id>", body))


def _event(event: str) -> str:
    lines = []
    for line in event.strip("\n").split("\n"):
        if line.startswith("data: {"):
            # Spacing is part of the form: error events are written by another encoder.
            spaced = '": ' in line[:12]
            masked = _mask(json.loads(line[6:]))
            separators = None if spaced else (",", ":")
            lines.append("data: " + json.dumps(masked, ensure_ascii=False, separators=separators))
        else:
            lines.append(line)
    return "\n".join(lines)


def _mask(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        if key == "top_logprobs":
            return {"<alternatives>": len(value)}
        if value and all(name.isdigit() for name in value):  # prompt_logprobs: token id -> entry
            return {"<alternatives>": [_mask(entry) for entry in value.values()]}
        return {name: _mask(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        if key == "bytes":
            return "<bytes>"
        if key == "token_ids" or (key == "tokens" and value and isinstance(value[0], str)):
            return f"<{len(value)}>"
        return [_mask(inner, key) for inner in value]
    if isinstance(value, str):
        if key in TEXTS:
            return "<text>" if value else ""
        return FINGERPRINT.sub("<fingerprint>", IDS.sub(r"\1<id>", value))
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        if key in TIMES or key in VALUES or key == "top_logprobs":
            return f"<{key}>"
        if key == "stop_reason":
            return "<token id>"
    return value
