"""What the page asks beside the stream: one decision, what-if, actions, load, configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.errors import ControlError, GatewayError, UsageError
from gateway.machine.readiness import http_get
from gateway.ui.collect import Collector
from gateway.ui.envoydump import clusters, parsed, routes_of
from gateway.ui.load import Load
from gateway.ui.simulate import SLIDERS, TODAY, Simulations
from gateway.why.whatif import WhatIf, to_config, what_if

Json = dict[str, Any]
MOST_BODY = 2 << 20  # bytes; a configuration is the largest thing that is sent
_PAGES = ("/config_dump", "/clusters?format=json")  # of Envoy's admin port
# What the page may not ask of the stack: it reads the status itself, and is no place to end a stack from.
_NOT_HERE = {"status", "down", "commands", "objects", "manifests", "picker_config", "reconfigure"}


class WhatIfAsked(msgspec.Struct):
    """Sliders of the page; weights by whole names of scorers."""

    weights: dict[str, float] = {}
    picker: str | None = None
    last: int = 500
    name: str = ""  # of the picker process that is meant, where a configuration is made
    scenario: str = ""  # that is simulated


class LoadAsked(msgspec.Struct):
    """What the load controls say; rate in requests a second, duration in seconds."""

    scenario: str = ""
    model: str = ""
    rate: float | None = None
    duration_s: float = 60.0


class Api:
    """Answers; what cannot be done is a GatewayError, which becomes 409 or 400."""

    def __init__(self, collector: Collector, load: Load, simulations: Simulations) -> None:
        self._collector = collector
        self._load = load
        self._simulations = simulations
        self._objects: Json | None = None

    async def answer(self, request: Request) -> Response:
        """POST /api/NAME with a JSON object."""
        handler = getattr(self, f"on_{request.path_params['name']}", None)
        if handler is None:
            return JSONResponse({"error": f"no such thing: {request.url.path}"}, 404)
        body = await _body(request)
        try:
            given = msgspec.json.decode(body or b"{}", type=dict[str, Any])
            result = await handler(given)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return JSONResponse({"error": f"not understood: {error}"}, 400)
        except UsageError as error:
            return JSONResponse({"error": str(error)}, 400)
        except GatewayError as error:
            return JSONResponse({"error": str(error)}, 409)
        return Response(msgspec.json.encode({"ok": result}), media_type="application/json")

    async def on_decision(self, given: Json) -> Json:
        """Everything about one request. ControlError for one that is not kept any more."""
        feed = self._collector.feed
        name = str(given.get("id"))
        told = feed.requests.explain(name, feed.shown)
        if told is None:
            raise ControlError(f"request {name} is not kept any more; `simfleet why {name}` looks further")
        return {**told, "curl": self._curl(told)}

    def _curl(self, told: Json) -> str | None:
        """The request as curl, with a prompt for the one that no log keeps."""
        entry = told["entry"] or {}
        gateways = self._collector.feed.report.get("gateways", ())
        base = next((g["url"] for g in gateways if g["url"]), None)
        path = entry.get("path")
        if base is None or not path:
            return None
        words = ["curl", "-s", "-i", _quoted(base + path)]
        authority = entry.get("authority") or ""
        if authority and authority != urlsplit(base).netloc:
            words += ["-H", _quoted(f"Host: {authority}")]
        if told["objective"]:
            words += ["-H", _quoted(f"x-gateway-inference-objective: {told['objective']}")]
        if entry.get("method") == "POST":
            content: Json = {"model": told["model"]}
            is_chat = path.endswith("/chat/completions")
            content |= {"messages": [{"role": "user", "content": "..."}]} if is_chat else {"prompt": "..."}
            words += ["-d", _quoted(msgspec.json.encode({**content, "max_tokens": 16}).decode())]
        return " ".join(words)

    async def on_whatif(self, given: Json) -> Json:
        """What other weights would have done with the last decisions."""
        asked = msgspec.convert(given, WhatIfAsked)
        result = self._what_if(asked)
        changes = [asdict(change) for change in result.changes[-100:]]
        return {**asdict(result), "decided": result.decided, "changes": changes}

    def _what_if(self, asked: WhatIfAsked) -> WhatIf:
        decisions = self._collector.feed.requests.decisions[-max(asked.last, 1) :]
        return what_if(decisions, asked.weights, asked.picker)

    async def on_export(self, given: Json) -> Json:
        """The picker's configuration with the sliders' weights, as YAML."""
        asked = msgspec.convert(given, WhatIfAsked)
        return {"yaml": await self._config(asked)}

    async def _config(self, asked: WhatIfAsked) -> str:
        result = self._what_if(asked)
        before = await self._collector.ask("picker_config", name=asked.name)
        config = yaml.safe_load(before) if before else _default(result)
        return yaml.safe_dump(to_config(result, config), sort_keys=False)

    async def on_simulate(self, given: Json) -> Json:
        """Start a scenario in virtual time, under today's weights and the sliders'.

        ControlError where one runs, and for another scenario than a packaged one."""
        asked = msgspec.convert(given, WhatIfAsked)
        today = WhatIfAsked(last=asked.last, name=asked.name)
        configs = {TODAY: await self._config(today), SLIDERS: await self._config(asked)}
        if configs[TODAY] == configs[SLIDERS]:
            del configs[SLIDERS]
        pods = [pod["workload"] for pod in self._collector.feed.report.get("pods", ())]
        replicas = len(pods) if len(set(pods)) == 1 else None
        manifests = await self._collector.ask("manifests")
        weights = self._what_if(asked).weights
        self._simulations.start(manifests, configs, asked.scenario, replicas, weights)
        return self._simulations.state()

    async def on_end_simulation(self, _: Json) -> Json:
        """End it."""
        await self._simulations.stop()
        return self._simulations.state()

    async def on_apply(self, given: Json) -> Json:
        """Restart the picker with the sliders' weights, or with `text`; what undoes it."""
        text = given.get("text")
        asked = msgspec.convert({k: v for k, v in given.items() if k != "text"}, WhatIfAsked)
        before = await self._collector.ask("picker_config", name=asked.name)
        wanted = str(text) if text is not None else await self._config(asked)
        done = await self._collector.ask("reconfigure", name=asked.name, text=wanted)
        return {"did": done, "undo": {"route": "apply", "body": {"name": asked.name, "text": before}}}

    async def on_commands(self, _: Json) -> Json:
        """What the stack can be told, and with which arguments."""
        known: Json = await self._collector.ask("commands")
        return {name: arguments for name, arguments in known.items() if name not in _NOT_HERE}

    async def on_do(self, given: Json) -> Json:
        """Tell the stack something. ControlError for what it does not know, or refuses."""
        name, arguments = str(given.get("do")), given.get("arguments") or {}
        if name in _NOT_HERE or name not in await self._collector.ask("commands"):
            raise ControlError(f"the stack cannot be told to {name!r} from here")
        before = {p["name"]: p["workload"] for p in self._collector.feed.report.get("pods", ())}
        done = await self._collector.ask(name, **arguments)
        return {"did": done, "undo": _undo(name, arguments, before)}

    async def on_scenarios(self, _: Json) -> list[Json]:
        """The packaged scenarios."""
        return await self._load.scenarios()

    async def on_load(self, given: Json) -> Json:
        """Start a load. ControlError where there is no gateway, or one runs."""
        asked = msgspec.convert(given, LoadAsked)
        report = self._collector.feed.report
        if not report.get("url"):
            raise ControlError("this stack has no gateway to send to")
        model = asked.model or next((m for p in report["pods"] for m in p["models"]), "model")
        await self._load.start(report["url"], asked.scenario, model, asked.rate, asked.duration_s)
        return self._load.state()

    async def on_stop(self, _: Json) -> Json:
        """End the load."""
        await self._load.stop()
        return self._load.state()

    async def on_objects(self, given: Json) -> Json:
        """The manifests' objects and what each gateway's Envoy made of them."""
        if self._objects is None or given.get("again"):
            self._objects = await self._collector.ask("objects")
        envoys = []
        for gateway in self._collector.feed.report.get("gateways", ()):
            place = urlsplit(gateway["admin_url"])
            asked = [http_get(str(place.hostname), place.port or 0, path) for path in _PAGES]
            dump, statuses = parsed(await asyncio.gather(*asked))
            name = f"{gateway['namespace']}/{gateway['name']}"
            envoys.append({"gateway": name, "routes": list(routes_of(dump)), "clusters": clusters(statuses)})
        return {**self._objects, "envoys": envoys}

    async def on_metrics(self, given: Json) -> Json:
        """The /metrics page of a pod. ControlError for one that does not answer."""
        name = str(given.get("pod"))
        pod = next((p for p in self._collector.feed.report.get("pods", ()) if p["name"] == name), None)
        if pod is None:
            raise ControlError(f"there is no pod {name}")
        status, page = await http_get(pod["address"], pod["ports"][0], "/metrics")
        if status != 200:
            raise ControlError(f"pod {name} does not answer /metrics")
        return {"text": page.decode(errors="replace")}


async def _body(request: Request) -> bytes:
    """The body as far as it may go."""
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > MOST_BODY:
            return b""
    return bytes(parts)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _default(result: WhatIf) -> Json:
    """A configuration with the scorers that the log knows, for a picker that runs on a release's default."""
    return {
        "apiVersion": "inference.networking.x-k8s.io/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": [{"type": name} for name in result.logged_weights],
        "schedulingProfiles": [
            {"name": "default", "plugins": [{"pluginRef": name} for name in result.logged_weights]}
        ],
    }


def _undo(name: str, arguments: Mapping[str, Any], before: Mapping[str, str]) -> Json | None:
    """The command that takes another back, where there is one."""
    if name in ("kill", "drain") and arguments.get("after_tokens") is None:
        return {"route": "do", "body": {"do": "restart", "arguments": {"name": arguments.get("name")}}}
    if name == "scale":
        count = sum(workload == arguments.get("target") for workload in before.values())
        body = {"do": "scale", "arguments": {"target": arguments.get("target"), "replicas": count}}
        return {"route": "do", "body": body}
    return None
