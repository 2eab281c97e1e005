"""Conditions and addresses of Gateways, routes and pools, as Istio's controller writes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gateway.cluster.controllers.common import condition, with_times
from gateway.cluster.objects.kinds import Served
from gateway.cluster.objects.state import State
from gateway.cluster.standins import GATEWAY, GIE
from gateway.manifests.attach import ParentResult, attach
from gateway.manifests.conditions import Condition, pool_conditions, route_conditions
from gateway.manifests.gatewayapi import Gateway as Typed
from gateway.manifests.gatewayapi import Listener
from gateway.manifests.load import Manifests

Object = dict[str, Any]
CONTROLLER = "istio.io/gateway-controller"
CLASS = "istio"
_ROUTES = ("HTTPRoute", "GRPCRoute")


@dataclasses.dataclass(frozen=True)
class Running:
    """A gateway that serves: its address, and the local port of each listener port."""

    address: str
    ports: Mapping[int, int]
    patches: tuple[Object, ...] = ()  # for an istiod that programs it

    @property
    def shown(self) -> Object:
        """As status.addresses has it; with the port where it is another than the listener's."""
        port = next(iter(self.ports), 80)
        local = self.ports.get(port, port)
        if local == port:
            return {"type": "IPAddress", "value": self.address}
        return {"type": "Hostname", "value": f"{self.address}:{local}"}


class Gateways:
    """Writes the status of everything of the Gateway API."""

    def __init__(self, state: State) -> None:
        self._state = state

    def make_class(self) -> None:
        """The class that Istio makes when it is installed."""
        served = self._served("GatewayClass")
        if served is None or self._state.get(served.kind, "", CLASS) is not None:
            return
        body = {
            "metadata": {"name": CLASS},
            "spec": {"controllerName": CONTROLLER, "description": "The default Istio GatewayClass"},
        }
        self._state.create(served, "", body)

    def _served(self, kind: str, group: str = GATEWAY) -> Served | None:
        found = [s for s in self._state.registry if (s.kind.group, s.kind.kind) == (group, kind)]
        return next((s for s in found if s.version == s.kind.version), found[0] if found else None)

    def classes(self) -> set[str]:
        """The names of the classes that are ours."""
        return {
            c["metadata"]["name"]
            for c in self._state.of("GatewayClass", GATEWAY)
            if c.get("spec", {}).get("controllerName") == CONTROLLER
        }

    def run(
        self, manifests: Manifests, running: Mapping[tuple[str, str], Running], problems: Mapping[str, str]
    ) -> None:
        results = [r for r in attach(manifests) if r.gateway is not None]
        for class_ in self._state.of("GatewayClass", GATEWAY):
            if class_["metadata"]["name"] in self.classes():
                seen = class_["metadata"].get("generation", 1)
                accepted = condition("Accepted", True, "Accepted", "Handled by Istio controller")
                conditions = [{**accepted, "observedGeneration": seen}]
                self._write(self._served("GatewayClass"), class_, {"conditions": conditions})
        for gateway in manifests.gateways.values():
            problem = problems.get(str(gateway))
            self._gateway(gateway, results, running.get(gateway.key), problem)
        for route in manifests.routes:
            self._route(manifests, str(route), route.resource.kind, route.key, results)
        for pool in manifests.pools.values():
            self._pool(manifests, pool.key, str(pool), results)

    def _write(self, served: Served | None, obj: Object | None, status: Object) -> None:
        """Its status with these conditions, the times kept of those that stay."""
        if served is None or obj is None:
            return
        old = obj.get("status") or {}
        if "conditions" in status:
            status = {**status, "conditions": with_times(status["conditions"], old.get("conditions"))}
        self._state.change(served.kind, obj, status={**old, **status})

    # gateways

    def _gateway(
        self, gateway: Typed, results: list[ParentResult], running: Running | None, problem: str | None
    ) -> None:
        served = self._served("Gateway")
        obj = self._state.get(served.kind, *gateway.key) if served else None
        if obj is None:
            return
        host = f"{gateway.name}-istio.{gateway.namespace}.svc.cluster.local"
        if running is not None and problem is None:
            told = ", ".join(f"{host}:{port}" for port in running.ports)
            programmed = condition(
                "Programmed", True, "Programmed", f"Resource programmed, assigned to service(s) {told}"
            )
        elif problem is not None:
            programmed = condition("Programmed", False, "Invalid", problem)
        else:
            programmed = condition("Programmed", False, "Pending", "its Envoy starts")
        generation = obj["metadata"].get("generation", 1)
        resolved = condition("ResolvedRefs", True, "ResolvedRefs", "All references resolved")
        conditions = [condition("Accepted", True, "Accepted", "Resource accepted"), programmed, resolved]
        old = {x.get("name"): x for x in (obj.get("status") or {}).get("listeners", ())}
        listeners = [
            self._listener(
                gateway, listener, results, programmed, old=old.get(listener.name, {}), generation=generation
            )
            for listener in gateway.listeners
        ]
        status: Object = {
            "conditions": [{**c, "observedGeneration": generation} for c in conditions],
            "listeners": listeners,
        }
        if running is not None:
            status["addresses"] = [running.shown]
        self._write(served, obj, status)

    def _listener(
        self, gateway: Typed, listener: Listener, results: list[ParentResult], programmed: Object, *,
        generation: int, old: Object,
    ) -> Object:  # fmt: skip
        serves = listener.protocol in {"HTTP", "HTTPS"}
        kinds = listener.kinds or tuple((GATEWAY, kind) for kind in _ROUTES)
        attached = {
            a.route.resource.where + str(a.route)
            for r in results
            for a in r.attachments
            if a.gateway.key == gateway.key and a.listener.name == listener.name
        }
        good = serves and programmed["status"] == "True"
        reason = "Programmed" if good else "Pending" if serves else "Invalid"
        accepted = condition("Accepted", True, "Accepted", "No errors found")
        if not serves:
            words = f"protocol {listener.protocol} is not run here"
            accepted = condition("Accepted", False, "UnsupportedProtocol", words)
        conditions = [
            accepted,
            condition("Conflicted", False, "NoConflicts", "No errors found"),
            condition("Programmed", good, reason, "No errors found" if good else programmed["message"]),
            condition("ResolvedRefs", True, "ResolvedRefs", "No errors found"),
        ]
        timed = with_times(
            [{**c, "observedGeneration": generation} for c in conditions], old.get("conditions")
        )
        return {
            "name": listener.name,
            "attachedRoutes": len(attached),
            "supportedKinds": [{"group": group, "kind": kind} for group, kind in kinds],
            "conditions": timed,
        }

    # routes and pools

    def _route(
        self, manifests: Manifests, name: str, kind: str, key: tuple[str, str], results: list[ParentResult]
    ) -> None:
        served = self._served(kind)
        obj = self._state.get(served.kind, *key) if served else None
        if obj is None:
            return
        mine = [r for r in results if str(r.route) == name]
        old = (obj.get("status") or {}).get("parents", [])
        parents = []
        for result in mine:
            ref = dict(result.parent.root.value)
            found = route_conditions(manifests, [result])
            parents.append(self._parent(obj, ref, found, old))
        others = [p for p in old if p.get("controllerName") != CONTROLLER]
        self._write(served, obj, {"parents": [*others, *parents]})

    def _pool(
        self, manifests: Manifests, key: tuple[str, str], name: str, results: list[ParentResult]
    ) -> None:
        served = self._served("InferencePool", GIE)
        obj = self._state.get(served.kind, *key) if served else None
        if obj is None:
            return
        old = (obj.get("status") or {}).get("parents", [])
        by_gateway: dict[str, list[Condition]] = {}
        for found in pool_conditions(manifests, results):
            if found.object == name:
                by_gateway.setdefault(found.gateway, []).append(found)
        parents = []
        for gateway, conditions in by_gateway.items():
            namespace, _, of = gateway.partition("/")
            ref = {"group": GATEWAY, "kind": "Gateway", "name": of, "namespace": namespace}
            parents.append(self._parent(obj, ref, conditions, old))
        if parents or old:
            self._write(served, obj, {"parents": parents})

    @staticmethod
    def _parent(obj: Object, ref: Object, found: list[Condition], old: list[Object]) -> Object:
        before = next((p for p in old if p.get("parentRef") == ref), {})
        generation = obj["metadata"].get("generation", 1)
        conditions = [
            condition(c.type, c.status, c.reason, c.message, observedGeneration=generation) for c in found
        ]
        timed = with_times(conditions, before.get("conditions"))
        return {"parentRef": ref, "controllerName": CONTROLLER, "conditions": timed}
