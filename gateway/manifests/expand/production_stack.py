"""The Deployment and Service of a VLLMRuntime of production-stack's operator.

Facts: vllm-project/production-stack operator/internal/controller/vllmruntime_controller.go, August 2026.
"""

from __future__ import annotations

from gateway.manifests.expand.objects import Find, Made, Missing, Object, made, pods, template
from gateway.manifests.resources import Resource
from kit.yamldoc import Cursor

VLLM_RUNTIME = ("production-stack.vllm.ai", "VLLMRuntime")
_TEMPLATE = "chat-template"


def vllm_runtime(resource: Resource, _: Find) -> Made:
    """Raises ManifestError for fields of a wrong type."""
    spec = resource.root.child("spec")
    lacking = [name for name in ("model", "vllmConfig", "deploymentConfig") if not spec.has(name)]
    if lacking:
        yield Missing(f"an API server refuses it without {', '.join(lacking)}: no pods are made of it")
        return
    deployment = spec.child("deploymentConfig")
    port = spec.child("vllmConfig").number("port", 8000)
    labels = {"app": resource.name, **resource.labels}
    written: Object = {"spec": {"containers": [_server(spec, port)], "volumes": []}}
    if text := spec.child("model").text("chatTemplate", ""):
        name = f"{resource.name}-{_TEMPLATE}"
        yield {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": resource.namespace},
            "data": {"chatTemplate": text},
        }
        items = [{"key": "chatTemplate", "path": "chat_template.json"}]
        written["spec"]["volumes"] = [{"name": _TEMPLATE, "configMap": {"name": name, "items": items}}]
    annotations = deployment.string_map("podAnnotations")
    one = template(written, labels, annotations=annotations)
    yield pods(resource, "Deployment", resource.name, deployment.number("replicas", 1), one)
    ports = [{"name": "http", "port": 80, "targetPort": port}]
    yield made(resource, ("v1", "Service"), resource.name, {"selector": labels, "ports": ports})
    scaling = spec.opt("autoscalingConfig")
    if scaling and scaling.flag("enabled", False):
        text = "its ScaledObject is not simulated: nothing scales by it; a HorizontalPodAutoscaler does"
        yield Missing(text, ("spec", "autoscalingConfig"))


def _server(spec: Cursor, port: int) -> Object:
    model, config = spec.child("model"), spec.child("vllmConfig")
    image = spec.child("deploymentConfig").child("image")
    cache = spec.opt("lmCacheConfig")
    env = {"VLLM_USE_V1": "1" if config.flag("v1", False) else "0"}
    if model.flag("enableLoRA", False):
        env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    args = _args(model, config, port)
    if cache and cache.flag("enabled", False):
        connector = "LMCacheConnectorV1" if config.flag("v1", False) else "LMCacheConnector"
        args += ["--kv-transfer-config", f'{{"kv_connector":"{connector}","kv_role":"kv_both"}}']
    own = [{"name": e.text("name"), "value": e.text("value", "")} for e in config.items("env")]
    server: Object = {
        "name": "vllm",
        "image": f"{image.text('registry', '')}/{image.text('name', '')}",
        "command": ["/opt/venv/bin/vllm", "serve"],
        "args": args,
        "env": [*({"name": name, "value": value} for name, value in env.items()), *own],
        "ports": [{"name": "http", "containerPort": port}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": port}},
    }
    if model.text("chatTemplate", ""):
        at = {"name": _TEMPLATE, "mountPath": "/etc/chat-template.json", "subPath": "chat_template.json"}
        server["volumeMounts"] = [at]
    return server


def _args(model: Cursor, config: Cursor, port: int) -> list[str]:
    args = [model.text("modelURL"), "--host", "0.0.0.0", "--port", str(port)]
    args += ["--enable-lora"] if model.flag("enableLoRA", False) else []
    args += ["--enable-auto-tool-choice"] if model.flag("enableTool", False) else []
    parser = model.text("toolCallParser", "")
    args += ["--tool-call-parser", parser] if parser else []
    for field, flag in (
        ("enableChunkedPrefill", "enable-chunked-prefill"),
        ("enablePrefixCaching", "enable-prefix-caching"),
    ):
        args.append(f"--{flag}" if config.flag(field, False) else f"--no-{flag}")
    for at, field, flag in (
        (model, "maxModelLen", "--max-model-len"),
        (model, "maxNumSeqs", "--max-num-seqs"),
        (config, "tensorParallelSize", "--tensor-parallel-size"),
        (config, "maxLoras", "--max-loras"),
    ):
        number = at.number(field, 0)
        args += [flag, str(number)] if number > 0 else []
    for at, field, flag in (
        (model, "dtype", "--dtype"),
        (config, "gpuMemoryUtilization", "--gpu-memory-utilization"),
    ):
        text = at.text(field, "")
        args += [flag, text] if text else []
    args += config.strings("extraArgs")
    return [*args, "--chat-template", "/etc/chat-template.json"] if model.text("chatTemplate", "") else args
