"""KServe's LLMInferenceService: servers, pool, picker and route as its controller makes them.

Facts: kserve/kserve pkg/controller/v1alpha2/llmisvc, August 2026.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.manifests.expand import presets
from gateway.manifests.expand.objects import Find, Made, Missing, Object, made, pods, template
from gateway.manifests.expand.presets import child_name
from gateway.manifests.kustomize.merge import merge_typed
from gateway.manifests.resources import Resource
from gateway.picker.config import quantity_of
from gateway.picker.errors import PickerConfigError

_GROUP = "serving.kserve.io"
LLM_SERVICE = (_GROUP, "LLMInferenceService")
LLM_CONFIG = (_GROUP, "LLMInferenceServiceConfig")
_COMPONENT, _NAME, _PART = (f"app.kubernetes.io/{name}" for name in ("component", "name", "part-of"))
_WORKLOAD = "llminferenceservice-workload"
_SCHEDULER = "llminferenceservice-router-scheduler"
_FIELDS = {
    *(
        "model",
        "storageInitializer",
        "replicas",
        "scaling",
        "parallelism",
        "labels",
        "annotations",
        "template",
    ),
    *("worker", "kvCacheOffloading", "rolloutStrategy", "router", "prefill", "tracing", "baseRefs"),
}
_STOP = "serving.kserve.io/stop"
_PRESET = "kserve-config-llm-"
_VARIABLE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_CHILD = re.compile(r"ChildName \.(?:ObjectMeta\.)?Name `([^`]*)`")


def llm_config(resource: Resource, _: Find) -> Made:
    """A base configuration is read by the services that name it; the presets are those that are here."""
    if _PRESET in resource.name:
        yield Missing("the preset of that name that is built in here is used, not this one")


def llm_service(resource: Resource, find: Find) -> Made:
    """Everything of one service. Raises ManifestError for fields of a wrong type."""
    if resource.annotations.get(_STOP) == "true":
        yield Missing(f"the annotation {_STOP} stops it: nothing is made of it")
        return
    spec: Object = copy.deepcopy(resource.root.child("spec").value)
    for field in sorted(spec.keys() - _FIELDS):
        yield Missing("an API server has no such field: it drops it", ("spec", field))
    bases: list[Object] = []
    for ref in resource.root.child("spec").items("baseRefs"):
        base = _base(resource, ref.text("name"), find)
        if base is None:
            text = f"there is no LLMInferenceServiceConfig {ref.text('name')}: its controller makes nothing"
            yield Missing(text, ref.path)
            return
        bases.append(base.root.child("spec").value)
    known = _merged(resource, [*bases, spec])
    if any(_is_pipeline(part) for part in (known, known.get("prefill") or {})):
        yield Missing("KServe has no preset of pipeline parallelism: its controller makes nothing of it")
        return
    model = _at(known, "model", "name") or resource.name
    service = presets.Service(resource.namespace, resource.name, model)
    try:
        given = _presets(known, service)
    except PickerConfigError as error:  # of a quantity
        raise resource.error(str(error), ("spec",)) from error
    whole = _filled(_merged(resource, [given, *bases, spec]), service)
    left = sorted(set(_VARIABLE.findall(json.dumps(whole))))
    if left:
        yield Missing(f"templates are filled in for names only: {', '.join(left[:3])} stays as it is written")
    yield from _Maker(resource, service, whole, find).objects()


def _at(value: Any, *keys: str) -> Any:
    """What stands under `keys`; None where the way ends."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _main(pod: Any) -> Object | None:
    """The container of a pod that serves."""
    return next((c for c in _at(pod, "containers") or () if c.get("name") == "main"), None)


def _base(resource: Resource, name: str, find: Find) -> Resource | None:
    """A configuration of the service's own namespace, else of KServe's."""
    kind = LLM_CONFIG[1]
    return find(kind, resource.namespace, name) or find(kind, "kserve", name)


def _merged(resource: Resource, specs: list[Object]) -> Object:
    result: Object = {}
    for spec in specs:
        result = merge_typed(result, spec, resource.root)
    return result


def _is_pipeline(part: Mapping[str, Any]) -> bool:
    parallelism = part.get("parallelism") or {}
    return part.get("worker") is not None and not _is_data(parallelism) and bool(parallelism.get("pipeline"))


def _is_data(parallelism: Mapping[str, Any]) -> bool:
    return bool(parallelism.get("data") or parallelism.get("dataLocal"))


def _filled(spec: Object, service: presets.Service) -> Object:
    """A specification with the names of the service in its templates."""
    names = {
        ".Name": service.name,
        ".ObjectMeta.Name": service.name,
        ".ObjectMeta.Namespace": service.namespace,
        ".Namespace": service.namespace,
        ".Spec.Model.Name": service.model,
    }

    def value(found: re.Match[str]) -> str:
        if child := _CHILD.fullmatch(found[1]):
            return child_name(service.name, child[1])
        return names.get(found[1], found[0])

    def walk(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: walk(each) for key, each in item.items()}
        if isinstance(item, list):
            return [walk(each) for each in item]
        return _VARIABLE.sub(value, item) if isinstance(item, str) else item

    filled: Object = walk(spec)
    return filled


def _selector(name: str) -> dict[str, str]:
    return {_PART: "llminferenceservice", _NAME: name, "kserve.io/component": "workload"}


def _presets(known: Object, service: presets.Service) -> Object:
    """What the presets give to a service that has these parts."""
    apart = known.get("prefill") is not None
    result = _workload(known, service, behind_sidecar=apart)
    if apart:
        result["prefill"] = _workload(known["prefill"], service, published=False)
    given: Object = {}
    scheduler, route = _at(known, "router", "scheduler"), _at(known, "router", "route")
    if scheduler is not None and not _at(scheduler, "pool", "ref"):
        given["scheduler"] = presets.scheduler(service, _selector(service.name))
    if _at(scheduler, "tokenizer") is not None:
        given.setdefault("scheduler", {})["tokenizer"] = presets.tokenizer()
    if route is not None and not _at(route, "http", "refs"):
        adapters = _at(known, "model", "lora", "adapters") or ()
        given["route"] = presets.route(service, sorted(a.get("name", "") for a in adapters))
    return {**result, "router": given} if given else result


def _workload(
    part: Object, service: presets.Service, *, behind_sidecar: bool = False, published: bool = True
) -> Object:
    """Template and worker of the servers that decode, or of those that prefill."""
    parallelism: Object = part.get("parallelism") or {}
    if part.get("worker") is None:
        flags = " ".join([*presets.tensor(parallelism), *_offloading(part)])
        made_pod = presets.decode(service, flags) if behind_sidecar else None
        return {"template": made_pod or presets.server(service, 8000, flags, published=published)}
    if not _is_data(parallelism):
        return {}
    more = "".join(f" {flag}" for flag in _offloading(part))
    lead, follow = (presets.ranks(parallelism, leads=leads) + more for leads in (True, False))
    leader = presets.decode(service, lead) if behind_sidecar else None
    port = 8001 if behind_sidecar else 8000
    return {
        "template": leader or presets.server(service, port, lead, published=published),
        "worker": presets.server(service, port, follow, published=published),
    }


def _offloading(part: Object) -> list[str]:
    """The flag of a KV cache in the host's memory, unless the container's own variable names a connector."""
    offloading = part.get("kvCacheOffloading")
    if offloading is None or re.search(
        r"--kv[-_]transfer[-_]config", json.dumps(_main(part.get("template")))
    ):
        return []
    extra: Object = {
        "spec_name": "TieringOffloadingSpec",
        "cpu_bytes_to_use": quantity_of(offloading.get("cpu", 0), "kvCacheOffloading.cpu"),
    }
    if policy := offloading.get("evictionPolicy"):
        extra["eviction_policy"] = policy
    tiers = [i for i, tier in enumerate(offloading.get("secondary") or ()) if tier.get("fileSystem")]
    if tiers:
        extra["secondary_tiers"] = [{"type": "fs", "root_dir": f"/mnt/kv-cache-{i}"} for i in tiers]
    config = {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", "kv_connector_extra_config": extra}
    return [f"--kv-transfer-config '{json.dumps(config, separators=(',', ':'))}'".replace('"', '\\"')]


class _Maker:
    """The objects of a service whose whole specification is known."""

    def __init__(self, resource: Resource, service: presets.Service, spec: Object, find: Find) -> None:
        self._resource = resource
        self._service = service
        self._spec = spec
        self._find = find
        self._router: Object = spec.get("router") or {}
        self._scheduler: Object | None = self._router.get("scheduler")

    def objects(self) -> Made:
        """Servers, then pool and picker, then the route."""
        lora = _at(self._spec, "model", "lora") or {}
        apart = self._spec.get("prefill") is not None
        yield from self._servers(self._spec, "", "decode" if apart else "both", lora)
        if apart:
            yield from self._servers(self._spec["prefill"], "-prefill", "prefill", lora)
        yield self._made("v1", "Service", presets.SERVICE, {
            "selector": _selector(self._service.name),
            "ports": [{"name": "http", "appProtocol": "http", "port": 8000, "targetPort": 8000}],
        })  # fmt: skip
        if self._scheduler is not None and not _at(self._scheduler, "pool", "ref"):
            yield from self._picker(self._scheduler)
        if self._scheduler is not None and (tokenizer := self._scheduler.get("tokenizer")) is not None:
            labels = {_COMPONENT: "tokenizer", _NAME: self._service.name, _PART: "llminferenceservice"}
            one = template({"spec": tokenizer.get("template")}, labels)
            yield pods(
                self._resource, "Deployment", child_name(self._service.name, "-kserve-tokenizer"), 1, one
            )
        if (route := self._router.get("route")) is not None and (
            http := (route.get("http") or {}).get("spec")
        ):
            yield self._made("gateway.networking.k8s.io/v1", "HTTPRoute", "-kserve-route", self._route(http))
        if self._router.get("ingress") is not None:
            yield Missing("an Ingress is not run", ("spec", "router", "ingress"))

    def _made(self, api_version: str, kind: str, suffix: str, spec: Object) -> Object:
        return made(self._resource, (api_version, kind), child_name(self._service.name, suffix), spec)

    def _servers(self, part: Object, suffix: str, role: str, lora: Object) -> Made:
        more = part.get("labels") or {}
        annotations = part.get("annotations") or {}
        if (scaling := part.get("scaling")) is not None:
            path = ("spec", "prefill", "scaling") if suffix else ("spec", "scaling")
            yield Missing(f"nothing scales by {', '.join(scaling)}; a HorizontalPodAutoscaler does", path)

        def one(written: Object | None, component: str, *, serves: bool) -> Object:
            labels = {_COMPONENT: f"{_WORKLOAD}{component}{suffix}", _NAME: self._service.name}
            labels[_PART] = "llminferenceservice"
            if serves:
                labels |= {"kserve.io/component": "workload", "llm-d.ai/role": role}
            spec = {"spec": _with_adapters(written or {}, lora)}
            return template(spec, {**labels, **more}, annotations=annotations)

        replicas = part.get("replicas")
        if part.get("worker") is None:
            name = child_name(self._service.name, f"-kserve{suffix}")
            yield pods(
                self._resource, "Deployment", name, replicas, one(part.get("template"), "", serves=True)
            )
            return
        parallelism = part.get("parallelism") or {}
        local = max(parallelism.get("dataLocal") or 1, 1)
        both: Object = {"size": max((parallelism.get("data") or 1) // local, 1)}
        both["workerTemplate"] = one(part["worker"], "-worker", serves=part.get("template") is None)
        if part.get("template") is not None:
            both["leaderTemplate"] = one(part["template"], "-leader", serves=True)
        spec = {"replicas": 1 if replicas is None else replicas, "leaderWorkerTemplate": both}
        yield self._made("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", f"-kserve-mn{suffix}", spec)

    def _picker(self, scheduler: Object) -> Made:
        labels = {_COMPONENT: _SCHEDULER, _NAME: self._service.name, _PART: "llminferenceservice"}
        spec = copy.deepcopy(scheduler["template"])
        text = self._config(scheduler.get("config") or {})
        if isinstance(text, Missing):
            yield text
            return
        main = _main(spec)
        if main is not None and not any("config" in word for word in main.get("args") or ()):
            main["args"] = [*(main.get("args") or []), "--config-text", text]
        one = template({"spec": spec}, {**labels, **(scheduler.get("labels") or {})})
        name = child_name(self._service.name, "-kserve-router-scheduler")
        yield pods(self._resource, "Deployment", name, scheduler.get("replicas"), one)
        service = {"selector": labels, "ports": list(_ports(spec))}
        yield self._made("v1", "Service", presets.PICKER, service)
        pool = scheduler["pool"]["spec"]
        yield self._made("inference.networking.k8s.io/v1", "InferencePool", presets.POOL, pool)

    def _config(self, config: Object) -> str | Missing:
        """The picker's configuration as text; the ConfigMap's, where one is named."""
        if (inline := config.get("inline")) is not None:
            return inline if isinstance(inline, str) else json.dumps(inline)
        if (ref := config.get("ref")) is None:
            adapters = _at(self._spec, "model", "lora", "adapters")
            return presets.picker_config(apart=self._spec.get("prefill") is not None, adapters=bool(adapters))
        name, key = str(ref.get("name")), ref.get("key") or "epp"
        found = self._find("ConfigMap", self._resource.namespace, name)
        if found is None and name.startswith("config-scheduler-"):
            found = self._find("ConfigMap", "kserve", name)
        text = found.root.string_map("data").get(key) if found else None
        if text is None:
            path = ("spec", "router", "scheduler", "config")
            return Missing(f"there is no ConfigMap {name} with a key {key}: no picker is made", path)
        return text

    def _route(self, http: Object) -> Object:
        """With the gateways that the service names, and its Service in place of a pool that it has not."""
        spec: Object = copy.deepcopy(http)
        if refs := _at(self._router, "gateway", "refs"):
            kind = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
            spec["parentRefs"] = [{**kind, **ref} for ref in refs]
        own = child_name(self._service.name, presets.POOL)
        pool = _at(self._scheduler, "pool", "ref")
        for rule in spec.get("rules") or ():
            for backend in rule.get("backendRefs") or ():
                if backend.get("kind") != "InferencePool" or backend.get("name") != own:
                    continue
                if self._scheduler is None:
                    name = child_name(self._service.name, presets.SERVICE)
                    backend |= {"group": "", "kind": "Service", "name": name}
                elif pool:
                    backend["name"] = pool.get("name")
        return spec


def _ports(pod: Object) -> Iterator[Object]:
    """Those of the picker's Service: the ports that have the names of KServe's own."""
    for container in pod.get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") in {"grpc", "grpc-health", "metrics", "zmq"}:
                yield {"name": port["name"], "port": port["containerPort"], "targetPort": port["name"]}


def _with_adapters(pod: Object, lora: Object) -> Object:
    """A pod whose server loads the service's LoRA adapters, unless its own flags do."""
    adapters = lora.get("adapters") or []
    main = _main(pod)
    if not adapters or main is None or _names_adapters(main):
        return pod
    flags = ["--enable-lora"]
    for field, flag in (
        ("maxRank", "--max-lora-rank"),
        ("maxAdapters", "--max-loras"),
        ("maxCpuAdapters", "--max-cpu-loras"),
    ):
        flags += [f"{flag}={lora[field]}"] if lora.get(field) is not None else []
    flags += ["--lora-modules", *_modules(adapters)]
    main["args"] = [*flags, *(main.get("args") or [])]
    return pod


def _names_adapters(main: Object) -> bool:
    words = [*(main.get("command") or ()), *(main.get("args") or ())]
    words += [e.get("value") or "" for e in main.get("env") or () if e.get("name") == "VLLM_ADDITIONAL_ARGS"]
    return "--lora-modules" in " ".join(words)


def _modules(adapters: list[Object]) -> Iterator[str]:
    """In quotes: the server's command is evaluated once more."""
    for adapter in sorted(adapters, key=lambda a: str(a.get("name"))):
        name = str(adapter.get("name"))
        path = f"/mnt/lora/{re.sub(r'[^a-zA-Z0-9._-]', '-', name)}"
        yield f"'{json.dumps({'name': name, 'path': path}, separators=(',', ':'))}'"
