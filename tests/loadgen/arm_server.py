"""A model server for hooks: `arm_server.py PORT SECONDS` streams 4 tokens, the first after SECONDS."""

import asyncio
import json
import sys

USAGE = {"prompt_tokens": 32, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 0}}


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(x[15:]) for x in head.decode().lower().split("\r\n") if x.startswith("content-length:")),
                0,
            )
            await reader.readexactly(length)
            await answer(head.split(b" ", 2), writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def answer(request: list[bytes], writer: asyncio.StreamWriter) -> None:
    if request[0] == b"GET":
        body = json.dumps({"object": "list", "data": [{"id": "m"}]}).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        return
    fields = (b"content-type: text/event-stream", b"x-inference-pod: p-0", b"transfer-encoding: chunked")
    head = b"\r\n".join((b"HTTP/1.1 200 OK", *fields, b"", b""))
    writer.write(head)
    await asyncio.sleep(float(sys.argv[2]))
    for index in range(4):
        event = {"choices": [{"index": 0, "text": "a ", "finish_reason": "stop" if index == 3 else None}]}
        chunk(writer, json.dumps(event))
        await asyncio.sleep(0.005)
    chunk(writer, json.dumps({"choices": [], "usage": USAGE}))
    chunk(writer, "[DONE]")
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def chunk(writer: asyncio.StreamWriter, data: str) -> None:
    event = f"data: {data}\n\n".encode()
    writer.write(b"%x\r\n%s\r\n" % (len(event), event))


async def main() -> None:
    server = await asyncio.start_server(handle, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
