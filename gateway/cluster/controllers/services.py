"""Services: cluster addresses, load balancers, and EndpointSlices of the pods behind them.

An EndpointSlice has the addresses at which pods answer on this machine. They are loopback addresses, which a
real API server refuses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from gateway.cluster.controllers.common import ending, owner_ref
from gateway.cluster.controllers.facts import PodFact
from gateway.cluster.controllers.workloads import is_ready
from gateway.cluster.objects.kinds import ENDPOINT_SLICE, POD, SERVICE, Served
from gateway.cluster.objects.state import State
from gateway.cluster.objects.writes import Deletion

Object = dict[str, Any]
RANGE = ipaddress.ip_network("10.96.0.0/16")  # kubeadm's, of which half is enough; nothing answers there
_FIRST = 10  # the first addresses are left to Services that ask for them
_NODE_PORTS = range(30000, 32768)
_NAME, _MANAGED = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"


class Services:
    def __init__(self, state: State) -> None:
        self._state = state

    def admit(self, served: Served, obj: Object, old: Object | None) -> None:
        """Give a Service its addresses before it is stored."""
        if served.kind != SERVICE:
            return
        spec = obj.get("spec", {})
        if spec.get("type") == "ExternalName":
            for name in ("clusterIP", "clusterIPs"):
                spec.pop(name, None)
            return
        was = (old or {}).get("spec", {})
        if not spec.get("clusterIP"):
            spec["clusterIP"] = was.get("clusterIP") or self._free_address()
        spec["clusterIPs"] = [spec["clusterIP"]]
        if spec.get("type") in {"NodePort", "LoadBalancer"}:
            taken = {p.get("nodePort") for s in self._state.list(SERVICE) for p in s["spec"].get("ports", ())}
            had = {p.get("port"): p.get("nodePort") for p in was.get("ports", ())}
            for port in spec.get("ports", ()):
                if not port.get("nodePort"):
                    port["nodePort"] = had.get(port.get("port")) or next(
                        n for n in _NODE_PORTS if n not in taken
                    )
                    taken.add(port["nodePort"])

    def _free_address(self) -> str:
        taken = {s.get("spec", {}).get("clusterIP") for s in self._state.list(SERVICE)}
        hosts = (str(RANGE[i]) for i in range(_FIRST, RANGE.num_addresses - 1))
        return next(h for h in hosts if h not in taken)

    def run(self, facts: Mapping[tuple[str, str], PodFact]) -> None:
        for service in self._state.list(SERVICE):
            if not ending(service) and service["spec"].get("selector"):
                self._slice(service, facts)

    def _slice(self, service: Object, facts: Mapping[tuple[str, str], PodFact]) -> None:
        meta = service["metadata"]
        selector = service["spec"]["selector"]
        pods = [
            pod
            for pod in self._state.list(POD, meta["namespace"])
            if all(pod["metadata"].get("labels", {}).get(k) == v for k, v in selector.items())
        ]
        endpoints: list[Object] = []
        ports: list[Object] = []
        for pod in pods:
            fact = facts.get((meta["namespace"], pod["metadata"]["name"]))
            if fact is None or not pod.get("status", {}).get("podIP"):
                continue
            endpoints.append(_endpoint(pod, fact))
            ports = ports or _ports(service, pod, fact)
        self._write(service, endpoints, ports or _ports(service, None, None))

    def _write(self, service: Object, endpoints: list[Object], ports: list[Object]) -> None:
        meta = service["metadata"]
        mine = [
            s
            for s in self._state.list(ENDPOINT_SLICE, meta["namespace"])
            if s["metadata"].get("labels", {}).get(_NAME) == meta["name"]
            and s["metadata"].get("labels", {}).get(_MANAGED) == "endpointslice-controller.k8s.io"
        ]
        if mine:
            self._state.change(ENDPOINT_SLICE, mine[0], endpoints=endpoints, ports=ports)
            return
        body = {
            "metadata": {
                "generateName": f"{meta['name']}-",
                "labels": {_NAME: meta["name"], _MANAGED: "endpointslice-controller.k8s.io"},
                "ownerReferences": [owner_ref(service)],
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": ports,
        }
        served = self._state.served("discovery.k8s.io/v1", "EndpointSlice")
        self._state.create(served, meta["namespace"], body)

    # Services of gateways

    def of_gateway(self, gateway: Object, address: str, ports: Mapping[int, int]) -> None:
        """The Service that Istio makes for a Gateway, a load balancer that has its address."""
        meta = gateway["metadata"]
        name = f"{meta['name']}-{gateway['spec'].get('gatewayClassName', 'istio')}"
        label = {"gateway.networking.k8s.io/gateway-name": meta["name"]}
        found = self._state.get(SERVICE, meta["namespace"], name)
        wanted = [
            {"name": f"http-{port}" if port != 80 else "http", "port": port, "protocol": "TCP"}
            for port in ports
        ]
        served = self._state.served("v1", "Service")
        if found is not None and [p["port"] for p in found["spec"].get("ports", ())] != list(ports):
            self._state.delete(served, meta["namespace"], name, Deletion())
            found = None
        if found is None:
            body = {
                "metadata": {"name": name, "labels": label, "ownerReferences": [owner_ref(gateway)]},
                "spec": {"type": "LoadBalancer", "ports": wanted},
            }
            found, _ = self._state.create(served, meta["namespace"], body)
        self._state.change(SERVICE, found, status={"loadBalancer": {"ingress": [{"ip": address}]}})


def _endpoint(pod: Object, fact: PodFact) -> Object:
    address = next(iter(fact.ports.values()), (pod["status"]["podIP"], 0))[0]
    ready = is_ready(pod)
    meta = pod["metadata"]
    return {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": ready or fact.ending, "terminating": ending(pod)},
        "nodeName": pod["spec"].get("nodeName", ""),
        "targetRef": {
            "kind": "Pod",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
    }


def _ports(service: Object, pod: Object | None, fact: PodFact | None) -> list[Object]:
    found = []
    for port in service["spec"].get("ports", ()):
        target = port.get("targetPort", port.get("port"))
        if isinstance(target, str):
            containers = pod["spec"].get("containers", ()) if pod else ()
            named = [
                p["containerPort"] for c in containers for p in c.get("ports", ()) if p.get("name") == target
            ]
            if not named:
                continue
            target = named[0]
        if fact is not None and target in fact.ports:
            target = fact.ports[target][1]
        item = {"name": port.get("name", ""), "port": target, "protocol": port.get("protocol", "TCP")}
        if port.get("appProtocol"):
            item["appProtocol"] = port["appProtocol"]
        found.append(item)
    return found
