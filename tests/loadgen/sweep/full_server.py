"""A server whose capacity is known exactly: `python full_server.py PORT WORKERS SECONDS`.

A request ends SECONDS after a worker became free for it, in the order of arrival, by a virtual queue: how
late the machine is does not change how much is served.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import sys

MODELS = json.dumps({"object": "list", "data": [{"id": "m"}]}).encode()
ANSWER = json.dumps(
    {
        "id": "x",
        "choices": [{"index": 0, "text": "hi", "finish_reason": "length"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
).encode()


def rendered(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def main(port: int, workers: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    free = [0.0] * workers

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(sizes[0].split(b":")[1]) if sizes else 0)
                if head.startswith(b"GET"):
                    writer.write(rendered(MODELS))
                    continue
                end = max(heapq.heappop(free), loop.time()) + seconds
                heapq.heappush(free, end)
                await asyncio.sleep(max(0.0, end - loop.time()))
                writer.write(rendered(ANSWER))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
