"""Texts as the tokens that the model servers make of them, for who looks prompts up in their caches.

llm-d-router asks a renderer of its own (`vllm` of token-producer). Here an endpoint is asked, whose tokenizer
is the same: at vLLM's render routes, and where those are off at /tokenize, which gives the same tokens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.picker.errors import ScrapeError
from gateway.picker.pool.endpoints import Endpoint
from gateway.picker.pool.scrape import HttpPage
from gateway.picker.request import RequestBody

TIMEOUT_S = 5.0  # llm-d-router's own default
_RENDER = {"completions": "/v1/completions/render", "chat": "/v1/chat/completions/render"}
_OFF = frozenset({403, 404, 405, 501})  # how a server says that it has no render routes
_OF_CHATS = (
    *("messages", "tools", "chat_template", "add_generation_prompt", "continue_final_message"),
    "chat_template_kwargs",
)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
_log = logging.getLogger("picker.rendering")


class Renderer:
    """Asks for tokens, and remembers where they are to be had."""

    def __init__(self) -> None:
        self._renders = True  # until a server says that it has no such routes
        self._complained = ""

    async def tokens(self, body: RequestBody, model: str, endpoint: Endpoint) -> list[list[int]]:
        """The prompts of a request, each as its tokens; none where they are not to be had."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._tokens(body, model, endpoint)
        except (*_UNREADABLE, OSError, TimeoutError, ScrapeError, LookupError, TypeError) as error:
            self._complain(f"{endpoint.host_port} gives no tokens: {error or type(error).__name__}")
            return []

    async def _tokens(self, body: RequestBody, model: str, endpoint: Endpoint) -> list[list[int]]:
        payload = {**body.payload, "model": model}
        if self._renders and body.api in _RENDER:
            status, answer = await _post(endpoint, _RENDER[body.api], payload)
            if status == 200:
                items = answer if isinstance(answer, list) else [answer]
                return [msgspec.convert(item["token_ids"], list[int]) for item in items]
            if status not in _OFF:
                raise ScrapeError(f"status {status}")
            self._renders = False
        return [await _tokenized(endpoint, question) for question in _questions(body, model)]

    def _complain(self, why: str) -> None:
        if why != self._complained:
            self._complained = why
            _log.warning("%s; its text matches no prefix", why)


def _questions(body: RequestBody, model: str) -> list[dict[str, Any]]:
    """What /tokenize is asked of a request: one for each of its prompts."""
    payload = body.payload
    if body.api == "chat":
        return [{"model": model, **{name: payload[name] for name in _OF_CHATS if name in payload}}]
    prompt = payload.get("prompt") if body.api == "completions" else None
    texts = [prompt] if isinstance(prompt, str) else prompt if isinstance(prompt, list) else []
    return [{"model": model, "prompt": text} for text in texts if isinstance(text, str)]


async def _tokenized(endpoint: Endpoint, question: Mapping[str, Any]) -> list[int]:
    status, answer = await _post(endpoint, "/tokenize", question)
    if status != 200:
        raise ScrapeError(f"status {status} of /tokenize")
    return msgspec.convert(answer["tokens"], list[int])


async def _post(endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
    """Status, and the JSON of an answer 200."""
    content = msgspec.json.encode(body)
    reader, writer = await asyncio.open_connection(endpoint.address, endpoint.port)
    try:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {endpoint.host_port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + content)
        page, found = HttpPage(), None
        while found is None:
            data = await reader.read(65536)
            found = page.feed(data) if data else page.closed()
            if not data and found is None:
                raise ScrapeError("the connection closed before the answer was whole")
    finally:
        writer.close()
    return page.status, msgspec.json.decode(found) if page.status == 200 else None
