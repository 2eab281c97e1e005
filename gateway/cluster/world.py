"""A cluster on this machine: the state, its controllers, and a stack that runs what they settle on.

One loop: a written object wakes the controllers; when they are at rest and what a plan is made of has
changed, the stack is changed to it; what the stack says of its pods and gateways is written back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cluster.controllers.common import Events, ending
from gateway.cluster.controllers.envoyfilters import EnvoyFilters
from gateway.cluster.controllers.facts import PodFact
from gateway.cluster.controllers.gateways import Gateways
from gateway.cluster.controllers.namespaces import ISTIO_NAMESPACE, Namespaces
from gateway.cluster.controllers.owners import Owners
from gateway.cluster.controllers.pods import Pods
from gateway.cluster.controllers.services import Services
from gateway.cluster.controllers.workloads import Workloads
from gateway.cluster.objects.kinds import DEPLOYMENT, EVENT, NODE, POD, STATEFUL_SET, Registry
from gateway.cluster.objects.owners import now_text
from gateway.cluster.objects.state import State
from gateway.cluster.reading import READ, differs, is_made, manifests_of
from gateway.cluster.standins import GATEWAY, standins
from gateway.errors import ControlError, GatewayError
from gateway.kubeapi.store import Change
from gateway.manifests.load import Manifests
from gateway.stack.plan import pod_name

if TYPE_CHECKING:
    from gateway.cluster.runtime import Runtime

Object = dict[str, Any]
Report = Callable[[str], None]
REST_S = 0.02  # after a written object others may follow: kubectl apply sends one after the other
TICK_S = 0.1  # how often the stack's pods are looked at
SETTLE_S = 5.0  # how long a reader of a Gateway waits for what was written before
RESTART_S = 1.0  # before a container that died is started again
_ROUNDS = 20  # of controllers that wake each other; more is a mistake of theirs
_LINES = 500  # kept of a pod's log


def new_state(*, istio: bool = False) -> State:
    """Without any object; kinds of gateways and pools are served already, `istio`: those of an istiod."""
    state = State(Registry.builtin())
    served = state.served("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    for crd in standins(istio=istio):
        state.create(served, "", crd)
    return state


class World:
    """Runs beside its API until `stop()`."""

    def __init__(self, state: State, report: Report, stack: str = "", *, istio: bool = False) -> None:
        """`istio`: a real istiod translates, and writes the status of what it reads."""
        self.state = state
        self._istio = istio
        self._stack_name = stack  # what pods' names hang on beside the manifests
        self.report = report
        self.runtime: Runtime | None = None
        self._events = Events(state)
        self._namespaces = Namespaces(state)
        self._owners = Owners(state)
        self._workloads = Workloads(state, self._events)
        self._pods = Pods(state, self._events)
        self._services = Services(state)
        self._gateways = Gateways(state)
        self._filters = EnvoyFilters(state)
        self._manifests = Manifests()
        self._problems: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}
        self._woken = asyncio.Event()
        self._settling = asyncio.Lock()  # of the controllers, which pause for others in between
        self._dirty = True
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._applying: asyncio.Task[None] | None = None
        self._told: list[PodFact] = []
        self._leaving: set[str] = set()  # pods that are being ended because their objects were
        self._lines: dict[str, deque[str]] = {}
        state.admit = self._services.admit
        state.store.listen(self._on_change)

    def furnish(self, version: str) -> None:
        """What a cluster has before anybody has written to it."""
        self._namespaces.make_first()
        self._namespaces.run()
        if self._istio:
            self._namespaces.make(ISTIO_NAMESPACE)
        else:
            self._gateways.make_class()
        if self.state.get(NODE, "", "localhost") is None:
            node = {"metadata": {"name": "localhost", "labels": {"kubernetes.io/hostname": "localhost"}}}
            made, _ = self.state.create(self.state.served("v1", "Node"), "", node)
            self.state.change(NODE, made, status=_node_status(version))
        served = self.state.served("v1", "Service")
        if self.state.get(served.kind, "default", "kubernetes") is None:
            spec = {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "targetPort": 6443}]}
            self.state.create(served, "default", {"metadata": {"name": "kubernetes"}, "spec": spec})

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """No more reconciling; the stack is its owner's to end."""
        self._stopping = True
        tasks = [t for t in (self._loop, self._applying, *self._tasks) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def use(self, runtime: Runtime) -> None:
        """From here on objects run."""
        self.runtime = runtime
        self._dirty = True
        self._woken.set()

    async def settled(self) -> None:
        """Return once what has been written so far is taken over by what runs, or after SETTLE_S."""
        deadline = time.monotonic() + SETTLE_S
        while self._is_behind() and time.monotonic() < deadline:  # noqa: ASYNC110 - of several things
            await asyncio.sleep(REST_S)
        if self.runtime is not None:
            await self.runtime.converged(deadline - time.monotonic())

    def _is_behind(self) -> bool:
        applying = self._applying is not None and not self._applying.done()
        return self.runtime is not None and (self._dirty or applying or self._woken.is_set())

    # the loop

    def _on_change(self, change: Change) -> None:
        if change.kind == EVENT:
            return
        after = None if change.type == "DELETED" else change.object
        read = change.kind.kind in (*READ, "GatewayClass") and not is_made(change.object)
        if read and differs(change.before, after):
            self._dirty = True
        self._woken.set()

    async def _run(self) -> None:
        forgotten = time.monotonic()
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):  # wait_for may swallow a cancellation
                    await self._woken.wait()
            if self._woken.is_set():
                await asyncio.sleep(REST_S)
            try:
                await self.settle()
            except Exception as error:  # noqa: BLE001 - one odd object must not end the cluster
                self.report(f"controllers: {type(error).__name__}: {error}")
            if time.monotonic() - forgotten > 60:
                self._events.forget_old()
                forgotten = time.monotonic()

    async def settle(self) -> None:
        """Run the controllers until nothing wakes them, then begin to change the stack if it has to."""
        async with self._settling:
            await self._run_controllers()
        idle = self._applying is None or self._applying.done()
        if self._dirty and self.runtime is not None and idle:
            self._dirty = False
            self._applying = asyncio.create_task(self._change_stack(self.runtime))

    async def _run_controllers(self) -> None:
        for _ in range(_ROUNDS):
            woken = self._woken.is_set()
            self._woken.clear()
            facts = self._facts()
            if not woken and facts == self._told:
                return
            self._told = facts
            if woken:
                self._namespaces.run()
                self._owners.run()
                await asyncio.sleep(0)
            await self._mirror(facts)
            if not self._woken.is_set():
                return

    async def _change_stack(self, runtime: Runtime) -> None:
        manifests, self._unreadable = manifests_of(self.state, self._gateways.classes())
        self._manifests = manifests
        try:
            lines, problems = await runtime.change(manifests)
        except (GatewayError, OSError) as error:
            self.report(f"the stack cannot be changed: {error}")
            return
        finally:
            self._woken.set()
        for line in lines:
            self.report(line)
        for about, words in problems.items():
            if self._problems.get(about) != words:
                self.report(f"{about}: {words}")
        self._problems = problems

    # what runs, written back

    async def _mirror(self, facts: list[PodFact]) -> None:
        if self._dirty:
            self._manifests, self._unreadable = manifests_of(self.state, self._gateways.classes())
            facts = self._facts()
        for workload in self._manifests.workloads:
            if workload.resource.kind == "Deployment":
                obj = self.state.get(DEPLOYMENT, *workload.key)
                if obj is not None and not ending(obj):
                    name = pod_name(workload, 0, self._stack_name).rpartition("-")[0]
                    self._workloads.replica_set(obj, name)
        self._end(await self._pods.run(facts))
        await asyncio.sleep(0)
        self._services.run({(f.namespace, f.name): f for f in facts})
        await asyncio.sleep(0)
        self._workloads.statuses()
        await asyncio.sleep(0)
        running = self.runtime.gateways() if self.runtime else {}
        for key, gateway in running.items():
            obj = self._gateway(key)
            if obj is not None:
                self._filters.of_gateway(obj, gateway)
                self._services.of_gateway(obj, gateway)
        if not self._istio:
            self._gateways.run(self._manifests, running, {**self._unreadable, **self._problems})

    def _gateway(self, key: tuple[str, str]) -> Object | None:
        found = (o for o in self.state.of("Gateway", GATEWAY))
        return next((o for o in found if (o["metadata"]["namespace"], o["metadata"]["name"]) == key), None)

    def _facts(self) -> list[PodFact]:
        if self.runtime is None:
            return []
        facts = self.runtime.facts(self._manifests, self._problems)
        for fact in facts:
            if fact.dead and fact.name not in self._names():
                self._begin(self._revive(self.runtime, fact), fact.name)
        return facts

    # pods that end

    def _names(self) -> set[str]:
        return {task.get_name() for task in self._tasks}

    def _begin(self, doing: Any, name: str) -> None:
        task = asyncio.create_task(doing, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self, facts: list[PodFact]) -> None:
        """Somebody deleted the pods' objects: what they stand for ends, and their controllers make others."""
        new = [fact for fact in facts if fact.name not in self._leaving]
        if self.runtime is not None and new:
            self._leaving |= {fact.name for fact in new}
            self._begin(self._end_pods(self.runtime, new), "end")

    async def _end_pods(self, runtime: Runtime, facts: list[PodFact]) -> None:
        objects = {f.name: self.state.get(POD, f.namespace, f.name) for f in facts}
        graces = [o["metadata"].get("deletionGracePeriodSeconds", 0) for o in objects.values() if o]
        why = await runtime.end([f.name for f in facts], float(max(graces, default=0)))
        if why is not None:
            self.report(f"pods {', '.join(objects)}: {why}")
        async with self._settling:
            for fact in facts:
                self._pods.forget(fact)
                obj, now = objects[fact.name], self.state.get(POD, fact.namespace, fact.name)
                if obj is not None and now is not None and now["metadata"]["uid"] == obj["metadata"]["uid"]:
                    self.state.drop(POD, now)
        self._leaving -= objects.keys()
        self._dirty = True
        self._woken.set()

    async def _revive(self, runtime: Runtime, fact: PodFact) -> None:
        await asyncio.sleep(RESTART_S)
        if (why := await runtime.revive(fact)) is not None:
            self.report(f"pod {fact.name}: {why}")

    async def scale(self, target: str, replicas: int) -> str:
        """`simfleet scale`: the replicas of a workload's object. Raises ControlError."""
        found = [
            obj
            for served in self.state.registry
            if served.scale and served.kind in (DEPLOYMENT, STATEFUL_SET)
            for obj in self.state.list(served.kind)
            if obj["metadata"]["name"] == target
        ]
        if len(found) != 1:
            raise ControlError(
                f"{len(found)} workloads are called {target!r}: use kubectl scale -n NAMESPACE"
            )
        (obj,) = found
        now = obj["spec"].get("replicas", 1)
        self.set_replicas((obj["metadata"]["namespace"], target), obj["kind"], replicas)
        return f"{target}: {now} -> {replicas} pods wanted"

    def set_replicas(self, key: tuple[str, str], kind: str, replicas: int) -> None:
        """Write spec.replicas of a workload, which is not there any more or may have them."""
        served = self.state.served("apps/v1", kind)
        obj = self.state.get(served.kind, *key)
        if obj is not None:
            self.state.update(served, *key, {**obj, "spec": {**obj["spec"], "replicas": replicas}})

    # logs

    async def logs(
        self, pod: Object, container: str, tail: int | None, *, follow: bool
    ) -> AsyncIterator[bytes]:
        """The lines of a pod: a picker's own, of a model server what the stack has to say of it."""
        name = pod["metadata"]["name"]
        path = self.runtime.log_of(name) if self.runtime else None
        at = 0
        while True:
            lines = _read(path) if path else list(self._lines.get(name, ()))
            new = lines[at:]
            if at == 0 and tail is not None:
                new = new[-tail:] if tail else []
            at = len(lines)
            for line in new:
                yield line.encode() + b"\n"
            if not follow or self.state.get(POD, pod["metadata"]["namespace"], name) is None:
                return
            await asyncio.sleep(TICK_S)

    def heard(self, line: str) -> None:
        """A line of the stack; it belongs to the log of the pod that it names."""
        for word in line.split()[:3]:
            if any(fact.name == word for fact in self._told) or line.startswith("pod "):
                self._lines.setdefault(word, deque(maxlen=_LINES)).append(f"{now_text()} {line}")
        self.report(line)


def _read(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    return []


def _node_status(version: str) -> Object:
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "simfleet runs the pods of this node",
        "lastHeartbeatTime": now_text(),
        "lastTransitionTime": now_text(),
    }
    info = {"kubeletVersion": version, "operatingSystem": "linux", "architecture": "amd64"}
    return {
        "conditions": [ready],
        "addresses": [
            {"type": "InternalIP", "address": "127.0.0.1"},
            {"type": "Hostname", "address": "localhost"},
        ],
        "nodeInfo": info,
        "capacity": {"pods": "65000"},
        "allocatable": {"pods": "65000"},
    }
