"""P/D between two servers of one process: blocks handed over, fetched and freed, and gone the second time."""

from __future__ import annotations

import json
from typing import Any

from simulator.config.resolve import parse_args
from simulator.fleet.fleet import Fleet, ReplicaSpec
from simulator.server.replica import Replica
from tests.ports import free_port
from tests.simulator.server.inprocess import Kept, request, run

NIXL = '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'


async def pair(fleet: Fleet, *flags: str) -> tuple[Replica, Replica]:
    made = []
    for name in ("prefill", "decode"):
        port = free_port()
        line = ["--model", "m", "--kv-transfer-config", NIXL, "--port", str(port), *flags]
        spec = ReplicaSpec(name, "127.0.0.1", (port,), parse_args(line, {}))
        made.append(await fleet.add(spec))
    return made[0], made[1]


async def ask(replica: Replica, name: str, params: dict[str, Any]) -> Kept:
    sink = Kept()
    replica.driver.submit(request(name, 2, prompt=40, kv_transfer_params=params), sink)
    await sink.done.wait()
    return sink


def test_blocks_are_freed_when_they_are_fetched() -> None:
    async def main() -> None:
        async with Fleet() as fleet:
            prefill, decode = await pair(fleet)
            first = await ask(prefill, "a", {"do_remote_decode": True})
            told = first.outputs[-1].kv_transfer_params
            assert told is not None
            assert json.loads(json.dumps(told))["remote_engine_id"] == prefill.engine.transfers.engine_id
            assert prefill.engine.transfers.holds("a")
            second = await ask(decode, "b", told)
            assert second.num_tokens == 2
            assert decode.engine.stats.prompt_tokens_external == 40
            assert not prefill.engine.transfers.holds("a")
            again = Kept()
            other = request("c", 2, prompt=40, kv_transfer_params=told, cache_salt="s")
            decode.driver.submit(other, again)
            await again.done.wait()
            assert again.finish_reason == "error"
            assert decode.engine.stats.nixl_failed_transfers == 1

    run(main())


def test_every_engine_has_an_id_of_its_own() -> None:
    async def main() -> None:
        async with Fleet() as fleet:
            prefill, decode = await pair(fleet)
            ids = {prefill.engine.transfers.engine_id, decode.engine.transfers.engine_id}
            assert len(ids) == 2

    run(main())
