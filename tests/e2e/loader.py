"""A plain open-loop load for tests: requests at a rate from a thread of its own, every outcome kept."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Any, Self

import httpx


@dataclass(frozen=True)
class Outcome:
    """One request; times are `time.monotonic()`. Status 0: no answer."""

    number: int  # the request's path ends in ?n=NUMBER
    start: float
    end: float
    status: int
    pod: str
    detail: str


class Load:
    """`with Load(url, body, rate) as load:` sends while the block runs; then `load.outcomes` is complete."""

    def __init__(self, url: str, body: dict[str, Any], rate: float) -> None:
        self.url = url
        self.body = body
        self.rate = rate
        self.outcomes: list[Outcome] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=500, max_keepalive_connections=500)
        begin = time.monotonic()
        tasks = set()
        async with httpx.AsyncClient(limits=limits, timeout=20) as client:
            while not self._stop.is_set():
                tasks.add(asyncio.create_task(self._ask(client, len(tasks))))
                delay = begin + len(tasks) / self.rate - time.monotonic()
                await asyncio.sleep(max(delay, 0))
            await asyncio.gather(*tasks)

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        start = time.monotonic()
        try:
            body = {**self.body, "prompt": f"{self.body['prompt']} {number}"}
            answer = await client.post(f"{self.url}?n={number}", json=body)
            pod = answer.headers.get("x-inference-pod", "")
            detail = "" if answer.status_code == 200 else answer.text[:200]
            self.outcomes.append(Outcome(number, start, time.monotonic(), answer.status_code, pod, detail))
        except httpx.HTTPError as error:
            self.outcomes.append(Outcome(number, start, time.monotonic(), 0, "", repr(error)))

    def served_by(self, pod: str) -> list[Outcome]:
        return [o for o in self.outcomes if o.pod == pod]

    @property
    def failed(self) -> list[Outcome]:
        return [o for o in self.outcomes if o.status != 200]
