"""A stack that is none: a control socket and logs that a test writes, and the real server over them."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from gateway.errors import ControlError
from gateway.stack.socket import ControlServer
from gateway.ui.questions import arguments_of
from gateway.ui.server import PageServer

TOKEN = "let-me-in"
HOST = "inference-pool-ip-1.lab.svc.cluster.local"


def pod(name: str, host: int, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "lab",
        "pool": "inference-pool",
        "workload": "server",
        "address": f"127.77.{host // 200}.{2 + host % 200}",
        "ports": [8000],
        "state": "ready",
        "models": ["model-a"],
        "args": [],
        "running": 1,
        "waiting": 0,
        "kv_cache_usage": 0.25,
        "prefix_cache_hit_rate": 0.5,
        "adapters": [],
        "requests": 3,
        "generated_tokens": 100,
        **fields,
    }


class FakeStack:
    """Its status is a dict that a test may change; `told` is what it was told to do."""

    def __init__(self, pods: list[dict[str, Any]], **fields: Any) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sfui"))
        self.access, self.decisions = self.directory / "access.log", self.directory / "decisions.jsonl"
        gateway = {
            "name": "gateway",
            "namespace": "lab",
            "url": "http://127.0.0.1:1",
            "listeners": [{"port": 80, "url": "http://127.0.0.1:1", "hostnames": ["*"]}],
            "admin_url": "http://127.0.0.1:1",
            "access_log": str(self.access),
            "curl": "curl http://127.0.0.1:1/v1/completions -d '{}'",
        }
        picker = {
            "name": "epp",
            "namespace": "lab",
            "pool": "inference-pool",
            "kind": "reference",
            "state": "dead",
            "metrics_url": "http://127.0.0.1:1/metrics",
            "decision_log": str(self.decisions),
        }
        pool = {
            "name": "inference-pool",
            "namespace": "lab",
            "host": HOST,
            "target_ports": [8000],
            "failure_mode": "FailClose",
            "picker": "epp",
            "endpoints": [],
        }
        self.status: dict[str, Any] = {
            "name": "fake",
            "url": gateway["url"],
            "started": 1.0,
            "gateways": [gateway],
            "pools": [pool],
            "pickers": [picker],
            "pods": pods,
            "notes": [],
            "events": [],
            **fields,
        }
        self.objects: dict[str, Any] = {"objects": [], "findings": [], "notes": []}
        self.config = ""
        self.manifests = ""
        self.told: list[tuple[str, dict[str, Any]]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.control = ControlServer(self.directory / "control.sock", self._commands())
        self.run(self.control.start())
        self.server = PageServer(self.directory / "control.sock", TOKEN)
        self.url = self.run(self.server.start())

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def _commands(self) -> dict[str, Any]:
        async def status() -> Any:
            return self.status

        async def kill(name: str, after_tokens: int | None = None) -> str:
            self.told.append(("kill", {"name": name}))
            if name == "immortal":
                raise ControlError("pod immortal cannot be killed")
            return f"pod {name} killed"

        async def restart(name: str) -> str:
            self.told.append(("restart", {"name": name}))
            return f"pod {name} restarted"

        async def scale(target: str, replicas: int) -> str:
            self.told.append(("scale", {"target": target, "replicas": replicas}))
            return f"{target}: now {replicas} pods"

        async def fault(pod: str, slow: float = 1.0, hang: bool = False) -> str:
            self.told.append(("fault", {"pod": pod, "slow": slow, "hang": hang}))
            return f"pod {pod} is {slow} times as slow"

        changes = {"kill": kill, "restart": restart, "scale": scale, "fault": fault}

        async def commands() -> Any:
            return {name: arguments_of(command) for name, command in changes.items()}

        async def objects() -> Any:
            return self.objects

        async def manifests() -> str:
            return self.manifests

        async def picker_config(name: str) -> str:
            return self.config

        async def reconfigure(name: str, text: str) -> str:
            self.told.append(("reconfigure", {"name": name, "text": text}))
            self.config = text
            return f"picker {name} restarted with another configuration"

        questions = {
            "commands": commands,
            "objects": objects,
            "manifests": manifests,
            "picker_config": picker_config,
        }
        return {"status": status, "reconfigure": reconfigure, **changes, **questions}

    def send(
        self,
        name: str,
        place: str,
        *,
        status: int = 200,
        time: float = 1.0,
        candidates: list[dict[str, Any]] | None = None,
        **entry: Any,
    ) -> None:
        """A request in both logs; without candidates in the access log alone."""
        if candidates is not None:
            decision = {
                "time": time,
                "request_id": name,
                "model": entry.pop("model", "model-a"),
                "of_candidates": len(candidates),
                "candidates": candidates,
                "weights": {"queue-scorer": 2.0, "prefix-cache-scorer": 3.0},
                "picker": "max-score-picker",
                "pick": [place],
                "duration_us": 100.0,
            }
            with self.decisions.open("a") as log:
                log.write(json.dumps(decision) + "\n")
        line = {
            "status": status,
            "path": "/v1/completions",
            "method": "POST",
            "authority": "127.0.0.1:1",
            "request_id": name,
            "client_id": None,
            "route": "lab.inference.0",
            "cluster": f"outbound|54321||{HOST}",
            "upstream_host": place or None,
            "picked": place or None,
            "served": place or None,
            "ext_proc": "rh:1200:0,os:0",
            "duration_ms": 20,
            "first_byte_ms": 5,
            "flags": "-",
            "details": "via_upstream",
            **entry,
        }
        with self.access.open("a") as log:
            log.write(json.dumps(line) + "\n")

    def end_control(self) -> None:
        """The stack is gone; its page's server is not."""
        self.run(self.control.close())

    def close(self) -> None:
        try:
            self.run(self.server.stop())
            self.run(self.control.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            shutil.rmtree(self.directory, ignore_errors=True)


def candidate(name: str, endpoint: str, queue: float, prefix: float, **fields: Any) -> dict[str, Any]:
    """A candidate under weights 2 and 3."""
    return {
        "endpoint": endpoint,
        "name": f"lab/{name}-rank-0",
        "age_ms": 12.0,
        "scores": {"queue-scorer": queue, "prefix-cache-scorer": prefix},
        "total": queue * 2.0 + prefix * 3.0,
        "prefix_matched": int(prefix * 8),
        "prefix_total": 8,
        **fields,
    }
