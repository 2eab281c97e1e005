"""A model server for hooks: `arm_server.py PORT SECONDS` streams 4 tokens, the first after SECONDS."""

from __future__ import annotations

import asyncio
import sys

from fakes import DONE, FakeServer, Reply, Seen, answer_models, event, sse_head, token, usage


async def answer(seen: Seen, reply: Reply) -> None:
    if seen.method == "GET":
        await answer_models(reply, "m")
        return
    await reply.send(sse_head(x_inference_pod="p-0"))
    await asyncio.sleep(float(sys.argv[2]))
    for index in range(4):
        await reply.send(event(token("a ", "stop" if index == 3 else None)))
        await asyncio.sleep(0.005)
    await reply.send(event(usage(32, 4, 0)), DONE)


async def main() -> None:
    async with FakeServer(answer, port=int(sys.argv[1])):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
