"""Rules about the endpoint picker: its Service, flags, configuration, probes and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from gateway.lint.access import check_access
from gateway.lint.facts import Picker, flags, is_fixed, is_true, kv_metrics_of, picker_of, servers_of
from gateway.lint.finding import Finding, find
from gateway.lint.tls import check_tls
from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from gateway.manifests.workloads import Container, Files, Workload
from gateway.picker.config import EndpointPickerConfig, parse_config, without_effect
from gateway.picker.errors import PickerConfigError
from kit.yamldoc import Cursor

NOISY = 4


def check(manifests: Manifests) -> Iterator[Finding]:
    for pool in manifests.pools.values():
        if pool.picker is None:
            yield _missing(pool, f"{pool} has no endpointPickerRef")
            continue
        picker = picker_of(manifests, pool)
        yield from _check_service(manifests, pool, picker)
        if picker.workload is not None and picker.container is not None:
            yield from _check_flags(pool, picker)
            yield from _check_config(manifests, picker)
            yield from _check_metrics(manifests, pool, picker)
            yield from _check_image(picker)
            yield from _check_probes(picker)
            yield from check_access(manifests, pool, picker)
        yield from check_tls(manifests, pool, picker)


def _missing(pool: InferencePool, why: str) -> Finding:
    return find(
        "picker-missing",
        pool.picker.root if pool.picker else pool.resource.root.child("spec"),
        why,
        "the gateway cannot reach a picker: every request is answered 500 (ext_proc error)",
        f"a Service in {pool.namespace} with the picker's port, named by endpointPickerRef",
    )


def _check_service(manifests: Manifests, pool: InferencePool, picker: Picker) -> Iterator[Finding]:
    ref = pool.picker
    assert ref is not None
    if picker.service is None:
        elsewhere = [s for (ns, name), s in manifests.services.items() if name == ref.name]
        hint = f"; {elsewhere[0]} is in another namespace" if elsewhere else ""
        yield _missing(pool, f"{pool} names the picker Service {pool.namespace}/{ref.name}, not there{hint}")
        return
    service = picker.service
    spec = service.resource.root.child("spec")
    port = service.port(ref.port) if ref.port is not None else None
    if port is None:
        yield find(
            "picker-port",
            ref.root,
            f"{pool} names {_port(ref.port)}; {service} has {[p.port for p in service.ports]}",
            "Envoy has no such cluster: every request is answered 500",
            "make endpointPickerRef.port.number a port of the Service",
            "port",
        )
    elif not port.is_http2:
        yield find(
            "picker-protocol",
            spec,
            f"port {port.port} of {service} has neither appProtocol http2 or grpc nor a name that begins so",
            "Envoy speaks HTTP/1.1 to a gRPC server: every request is answered 500 (gRPC error 14)",
            "appProtocol: http2",
            "ports",
            service.ports.index(port),
        )
    if picker.workload is None:
        yield find(
            "picker-selector",
            spec,
            f"{service} selects {dict(service.selector)}, which no pod template carries",
            "the picker has no endpoints: every request is answered 500",
            "make the Service's selector a subset of the picker's pod labels",
            "selector",
        )


def _port(number: int | None) -> str:
    return "no port" if number is None else f"port {number}"


def _flag_at(picker: Picker, name: str) -> tuple[Cursor, tuple[int, ...]]:
    """Where a flag stands, in the args or the command; the args where it is not given."""
    assert picker.container is not None
    root = picker.container.root
    for part in ("args", "command"):
        for i, arg in enumerate(root.strings(part)):
            if name in flags([arg]):
                return root.at(part), (i,)
    return root.at("args"), ()


def _check_flags(pool: InferencePool, picker: Picker) -> Iterator[Finding]:
    for flag, want in (("pool-name", pool.name), ("pool-namespace", pool.namespace)):
        have = picker.flags.get(flag)
        if have is not None and have != want:
            at, keys = _flag_at(picker, flag)
            yield find(
                "picker-pool-flags",
                at,
                f"{picker.workload} has --{flag} {have}; it picks for {pool.key[0]}/{pool.key[1]}",
                "the picker never finds its pool and stays not ready: every request is answered 500",
                f"--{flag} {want}",
                *keys,
            )
    level = picker.flags.get("v", "0")
    if level.isdigit() and int(level) >= NOISY:
        at, keys = _flag_at(picker, "v")
        yield find(
            "picker-log-level",
            at,
            f"{picker.workload} logs at --v {level}",
            "several lines for each request: throughput falls and the log fills",
            "--v 1",
            *keys,
        )
    release = picker.release
    for flag in picker.flags:
        if flag.endswith("-metric") and release is not None and not release.metric_flags:
            at, keys = _flag_at(picker, flag)
            yield find(
                "dead-flag",
                at,
                f"{picker.workload} sets --{flag}, which {release.name} no longer takes",
                "the flag is refused or has no effect",
                "leave it out; name metrics in the configuration's dataLayer where they differ",
                *keys,
            )


def _check_config(manifests: Manifests, picker: Picker) -> Iterator[Finding]:
    """The file that --config-file names must come from a mounted ConfigMap; it, or a text, be readable."""
    text = picker.flags.get("config-text")
    if text is not None and (error := _fault_of(text.encode(), picker)):
        at, keys = _flag_at(picker, "config-text")
        yield _bad_config(at, f"--config-text of {picker.workload}: {error}", *keys)
    path, workload, container = picker.flags.get("config-file"), picker.workload, picker.container
    if path is not None and workload is not None and container is not None:
        yield from _check_config_file(manifests, picker, workload, container, path)


def _check_config_file(
    manifests: Manifests, picker: Picker, workload: Workload, container: Container, path: str
) -> Iterator[Finding]:
    file = PurePosixPath(path)
    mounts = [m for m in container.mounts if file.is_relative_to(m.path)]
    mount = max(mounts, key=lambda m: len(PurePosixPath(m.path).parts), default=None)
    volume = workload.volumes.get(mount.volume) if mount else None
    if mount is None or volume is None or volume.config_map is None:
        return
    config = manifests.config_maps.get((workload.namespace, volume.config_map))
    at, keys = _flag_at(picker, "config-file")
    if config is None:
        yield _no_config(at, keys, f"{workload} mounts ConfigMap {volume.config_map}, which is not there")
        return
    key = str(PurePosixPath(mount.sub_path) / file.relative_to(mount.path))
    named = key if volume.items is None else {v: k for k, v in volume.items.items()}.get(key)
    if named is None or named not in config.data:
        have = ", ".join(sorted(config.data))
        yield _no_config(at, keys, f"{workload} reads {path}; {config} has {have}")
    else:
        yield from _check_content(picker, config, named)


def _check_content(picker: Picker, config: Files, named: str) -> Iterator[Finding]:
    """The configuration under the key `named` of a ConfigMap: its faults, and what only the EPP acts on."""
    if error := _fault_of(config.data[named], picker):
        yield _bad_config(config.resource.root, f"{named} of {config}: {error}", "data", named)
        return
    for setting in without_effect(parse_config(config.data[named].decode(), picker.release)):
        yield find(
            "picker-inert-setting",
            config.resource.root,
            f"{named} of {config} sets {setting}",
            "`simfleet up` runs the reference picker, which does not act on it; the EPP does",
            "where it matters, run the EPP itself: `simfleet up --epp PATH`",
            "data",
            named,
        )


def _fault_of(text: bytes, picker: Picker) -> str | None:
    try:
        config = parse_config(text.decode(), picker.release)
    except (PickerConfigError, UnicodeDecodeError) as error:
        return str(error)
    return _loose_end(config)


def _loose_end(config: EndpointPickerConfig) -> str | None:
    """What no EPP starts with, whichever plugins it has been built with."""
    names = [plugin.name or plugin.type for plugin in config.plugins]
    for name in names:
        if names.count(name) > 1:
            return f"plugin name '{name}' used more than once"
    for profile in config.scheduling_profiles:
        for plugin in profile.plugins:
            if plugin.plugin_ref not in names:
                return f"{plugin.plugin_ref} is a reference to an undefined Plugin"
    return None


def _bad_config(at: Cursor, message: str, *keys: str | int) -> Finding:
    consequence = "the picker exits at start: every request is answered 500"
    mend = "mend the configuration as the message says"
    return find("picker-config", at, message, consequence, mend, *keys)


def _no_config(at: Cursor, keys: tuple[int, ...], why: str) -> Finding:
    mend = "the file name in --config-file must be a key of the mounted ConfigMap"
    return find(
        "picker-config", at, why, "the picker does not start: every request is answered 500", mend, *keys
    )


def _check_metrics(manifests: Manifests, pool: InferencePool, picker: Picker) -> Iterator[Finding]:
    release = picker.release
    if release is None:
        return
    at, keys = _flag_at(picker, "kv-cache-usage-percentage-metric")
    reads = picker.flags.get("kv-cache-usage-percentage-metric", release.kv_metric)
    for workload in servers_of(manifests, pool):
        exported = set.union(set(), *(kv_metrics_of(c.image) or set() for c in workload.containers))
        if exported and reads not in exported:
            yield find(
                "picker-kv-metric",
                at,
                f"{picker.workload} ({release.name}) reads {reads}; "
                f"{workload} exports {', '.join(sorted(exported))}",
                "the KV cache scorer sees 0 for every pod and logs an error for each scrape",
                f"--kv-cache-usage-percentage-metric {min(exported)}, or a picker of GIE v1.3 or later",
                *keys,
            )
    yield from _check_own_metrics(picker)


def _check_own_metrics(picker: Picker) -> Iterator[Finding]:
    service, container = picker.service, picker.container
    assert container is not None
    port = picker.flags.get("metrics-port", "9090")
    targets = {port} | {p.name for p in container.ports if str(p.number) == port}
    if service is not None and all(str(p.target_port) not in targets for p in service.ports):
        yield find(
            "picker-metrics",
            service.resource.root.child("spec"),
            f"{service} does not expose the picker's metrics port {port}",
            "the picker's own metrics can be scraped from its pod only",
            f"a further port {port}, or a PodMonitor",
            "ports",
        )
    if is_true(picker.flags.get("tracing", "true")):
        at, _ = _flag_at(picker, "tracing")
        yield find(
            "picker-tracing",
            at,
            f"{picker.workload} does not turn --tracing off, which is on by default",
            "it tries to export traces to localhost:4317 and logs failures where no collector is",
            "--tracing=false, or OTEL_EXPORTER_OTLP_ENDPOINT",
        )


def _check_image(picker: Picker) -> Iterator[Finding]:
    assert picker.container is not None
    image, root = picker.container.image, picker.container.root
    staging = "k8s-staging" in image
    always = root.at("imagePullPolicy").value == "Always" and is_fixed(image)
    if staging or always:
        what = (
            "comes from a staging registry, whose images expire"
            if staging
            else "has a fixed tag and is pulled always"
        )
        yield find(
            "picker-image",
            root,
            f"the picker's image {image} {what}",
            "one day the image is gone, or a start needs the registry"
            if staging
            else "a start needs the registry",
            "registry.k8s.io/gateway-api-inference-extension/epp:v1.5.0 with imagePullPolicy IfNotPresent",
            "image",
        )


def _check_probes(picker: Picker) -> Iterator[Finding]:
    assert picker.container is not None
    root = picker.container.root
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        service = root.at(name, "grpc", "service").value
        wrong = service not in (None, "", "liveness", "readiness")
        if picker.elects_leader and root.at(name, "grpc").value is not None and wrong:
            yield find(
                "picker-probe-service",
                root,
                f"{name} of {picker.workload} asks for gRPC service {service!r} with leader election on",
                "the answer is SERVICE_UNKNOWN: the pod is restarted or never ready",
                "service: liveness for startup and liveness, readiness for readiness",
                name,
            )
    yield from _check_patience(picker.workload, root)


def _check_patience(workload: Workload | None, root: Cursor) -> Iterator[Finding]:
    """A picker is not live before it has synced its pool: liveness must wait for that."""
    live = root.opt("livenessProbe")
    if live is None or root.has("startupProbe") or not live.has("grpc"):
        return
    delay, period = live.number("initialDelaySeconds", 0), live.number("periodSeconds", 10)
    patience = delay + period * live.number("failureThreshold", 3)
    if patience < 60:
        yield find(
            "picker-probes",
            root,
            f"{workload} is not live until it has synced its pool, and is restarted after about {patience} s",
            "where the pool or its rights come later, the picker restarts until they are there",
            "a startupProbe with some minutes of patience",
            "livenessProbe",
        )
