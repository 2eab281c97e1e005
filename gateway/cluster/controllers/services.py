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
from gateway.cluster.controllers.gateways import Running
from gateway.cluster.controllers.workloads import is_ready
from gateway.cluster.objects.kinds import ENDPOINT_SLICE, POD, SERVICE, Served
from gateway.cluster.objects.state import State
from gateway.cluster.objects.writes import Deletion

Object = dict[str, Any]
RANGE = ipaddress.ip_network("10.96.0.0/16")  # kubeadm's, of which half is enough; nothing answers there
_FIRST = 10  # the first addresses are left to Services that ask for them
_NODE_PORTS = range(30000, 32768)
NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
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
            self._give_node_ports(spec, was)

    def _give_node_ports(self, spec: Object, was: Object) -> None:
        """A number for each port that has none; what it had it keeps."""
        taken = {p.get("nodePort") for s in self._state.list(SERVICE) for p in s["spec"].get("ports", ())}
        had = {p.get("port"): p.get("nodePort") for p in was.get("ports", ())}
        for port in spec.get("ports", ()):
            if not port.get("nodePort"):
                free = next(n for n in _NODE_PORTS if n not in taken)
                port["nodePort"] = had.get(port.get("port")) or free
                taken.add(port["nodePort"])

    def _free_address(self) -> str:
        taken = {s.get("spec", {}).get("clusterIP") for s in self._state.list(SERVICE)}
        hosts = (str(RANGE[i]) for i in range(_FIRST, RANGE.num_addresses - 1))
        return next(h for h in hosts if h not in taken)

    def run(self, facts: Mapping[tuple[str, str], PodFact]) -> None:
        for service in self._state.list(SERVICE):
            selector = service["spec"].get("selector")
            if not ending(service) and selector and NAME_LABEL not in selector:  # those have no pods here
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

    def of_gateway(self, gateway: Object, running: Running) -> None:
        """The Service that Istio makes for a Gateway, a load balancer that has its address, and its slice."""
        meta = gateway["metadata"]
        name = f"{meta['name']}-{gateway['spec'].get('gatewayClassName', 'istio')}"
        labels = {NAME_LABEL: meta["name"], "gateway.istio.io/managed": "istio.io-gateway-controller"}
        found = self._state.get(SERVICE, meta["namespace"], name)
        ports = list(running.ports)
        served = self._state.served("v1", "Service")
        if found is not None and [p["port"] for p in found["spec"].get("ports", ())] != ports:
            self._state.delete(served, meta["namespace"], name, Deletion())
            found = None
        if found is None:
            wanted = [
                {
                    "name": f"http-{port}" if port != 80 else "http",
                    "port": port,
                    "targetPort": port,
                    "protocol": "TCP",
                }
                for port in ports
            ]
            selector = {NAME_LABEL: meta["name"]}
            body = {
                "metadata": {"name": name, "labels": labels, "ownerReferences": [owner_ref(gateway)]},
                "spec": {"type": "LoadBalancer", "selector": selector, "ports": wanted},
            }
            found, _ = self._state.create(served, meta["namespace"], body)
        shown = running.shown
        ingress = {"ip" if shown["type"] == "IPAddress" else "hostname": shown["value"]}
        self._state.change(SERVICE, found, status={"loadBalancer": {"ingress": [ingress]}})
        conditions = {"ready": True, "serving": True, "terminating": False}
        endpoint = {"addresses": [running.address], "conditions": conditions}
        local = [{**p, "port": running.ports[p["port"]]} for p in _ports(found, None, None)]
        self._write(found, [endpoint], local)


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
