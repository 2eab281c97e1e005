"""The pods of the plan in the world: made, killed, drained, scaled, and who of them is an endpoint."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from zlib import crc32

from gateway.errors import ControlError
from gateway.picker.app import Picker
from gateway.picker.pool.datastore import Datastore
from gateway.picker.pool.discovery import POLL_S
from gateway.picker.pool.endpoints import Endpoint
from gateway.picker.pool.scrape import phase_of
from gateway.simulate.replicas.asking import Asking
from gateway.simulate.replicas.ranks import Rank
from gateway.simulate.replicas.scraping import Eye, Sight, Ticks, probe
from gateway.stack import serving
from gateway.stack.plan import Plan, ServerPlan, listening_ports
from gateway.stack.pods import Pod, PodState, PodTable
from gateway.stack.serving import ranks_of
from simulator.config.serve import ServeConfig
from simulator.engine.core import Engine
from simulator.engine.outputs import RequestOutput
from simulator.engine.request import LoRARequest
from simulator.replay.prompts import Prefixes
from simulator.replay.world import World
from simulator.server.metrics.exposition import Exposition, Templates
from simulator.sources.parts import Parts, latency_model

_FIRST_ADDRESS = int(ipaddress.IPv4Address("127.0.0.2"))  # as a live stack has them
DRAIN_S = 30.0  # Kubernetes' terminationGracePeriodSeconds


class SeenDatastore(Datastore):
    """The picker's store of endpoints, which looks at the ranks that have moved before it is read."""

    def __init__(self, pool: str, namespace: str, world: World, unseen: set[Rank]) -> None:
        super().__init__(pool, namespace)
        self._world, self._unseen = world, unseen

    @property
    def endpoints(self) -> list[Endpoint]:
        if self._unseen:
            now = self._world.now
            for rank in [rank for rank in self._unseen if now >= rank.next_tick]:
                rank.see(now)
        return super().endpoints


class Fleet:
    """All pods. `on_output` hears what engines say, `on_lost` which ranks are gone with all that they had."""

    def __init__(
        self,
        plan: Plan,
        world: World,
        picker: Picker,
        unseen: set[Rank],
        *,
        directory: Path,
        seed: int,
        speaks: bool,
        on_output: Callable[[RequestOutput], None],
        on_lost: Callable[[Rank], None],
    ) -> None:
        self.table = PodTable(plan.stack)
        self.ranks: dict[str, Rank] = {}  # by host:port
        self.of_pod: dict[str, list[Rank]] = {}
        self.made = 0  # replicas so far
        self.startup = 0.0  # seconds that a pod takes besides its server's own start, once the run has begun
        self.configs: dict[str, ServeConfig] = {}  # of each pod
        self._plan, self._world, self._picker = plan, world, picker
        self._unseen = unseen
        self._directory, self._seed, self._speaks = directory, seed, speaks
        self._on_output, self._on_lost = on_output, on_lost
        self._parts, self._templates = Parts(), Templates()
        self._known: dict[str, ServeConfig] = {}  # by workload, where only names tell its pods apart
        self._sights: dict[str, Sight] = {}
        self._prefixes: dict[int, Prefixes] = {}
        self._started = 0  # endpoints that were ever scraped

    def start(self) -> None:
        """All replicas of the plan, ready. Raises ManifestError for a container that cannot be run."""
        for server in self._plan.servers:
            for _ in range(server.replicas):
                self._add(server, at_once=True)
        self._tell()

    def __iter__(self) -> Iterator[Pod]:
        return iter(self.table)

    # -- pods -----------------------------------------------------------------------------------------------

    def _add(self, server: ServerPlan, *, at_once: bool = False) -> Pod:
        name, ordinal = self.table.next_identity(server)
        address = str(ipaddress.IPv4Address(_FIRST_ADDRESS + self.made))
        self.made += 1
        config = self._config(server, name, address)
        pod = Pod(
            name, server, ordinal, address, listening_ports(server, config.port, ranks_of(server, config))
        )
        pod.models = (*(m.name for m in config.lora_modules), *config.served_model_names)
        pod.latency = config.latency.kind
        self.table.add(pod)
        self.configs[name] = config
        self._boot(pod, at_once)
        return pod

    def _boot(self, pod: Pod, at_once: bool) -> None:
        """Fresh engines; ready when the server has started, at once when the run begins."""
        config = self.configs[pod.name]
        self.of_pod[pod.name] = [self._rank(pod, config, number) for number in range(len(pod.ports))]
        pod.state = PodState.STARTING
        probed = pod.server.container.root.has("readinessProbe")
        waits = self.startup + (config.startup_duration if probed else 0.0)
        if at_once:
            waits = 0.0
        if waits:
            self._world.at(self._world.now + waits, self._ready, pod, self.of_pod[pod.name])
        else:
            pod.state = PodState.READY

    def _ready(self, pod: Pod, ranks: list[Rank]) -> None:
        if self.of_pod.get(pod.name) is ranks and pod.state is PodState.STARTING:
            pod.state = PodState.READY
            self.publish()

    def _rank(self, pod: Pod, config: ServeConfig, number: int) -> Rank:
        seed = config.seed
        if seed is None:
            seed = crc32(f"{self._seed}/{pod.name}/{number}/{self.made}".encode())
        tokenizer = self._parts.tokenizer(config.text)
        engine = Engine(
            replace(config.engine, prefix_index="dict"),
            latency_model(config.latency, config.engine.max_num_seqs, seed),
            self._parts.text(config, seed),
            tokenizer if self._speaks else None,
            custom_buckets=config.custom_histogram_buckets or None,
        )
        size = config.engine.block_size
        prefixes = self._prefixes.setdefault(size, Prefixes(size))
        loras = {m.name: LoRARequest(m.name, i, m.path) for i, m in enumerate(config.lora_modules, 1)}
        rank = Rank(
            engine,
            self._on_output,
            pod=pod.name,
            host_port=f"{pod.address}:{pod.ports[number]}",
            asking=Asking(config, tokenizer, prefixes, loras),
            exposition=Exposition(config, engine.stats, self._templates, rank=number),
            unseen=self._unseen,
            requeue=self._world.queue,
        )
        self._world.add(rank)
        self.ranks[rank.host_port] = rank
        return rank

    def _config(self, server: ServerPlan, name: str, address: str) -> ServeConfig:
        """What a pod's flags come to; read once where its pods differ by name alone."""
        key = str(server.workload)
        if key in self._known:
            return replace(self._known[key], pod_name=name)
        config = server_config(self._plan, server, name, address, self._directory)
        if config.pod_name == name and config == replace(
            server_config(self._plan, server, f"{name}-other", address, self._directory), pod_name=name
        ):
            self._known[key] = config
        return config

    # -- who is an endpoint ---------------------------------------------------------------------------------

    def publish(self) -> None:
        """The picker hears of the endpoints as they are now, when it next looks."""
        self._world.at(self._world.now + POLL_S, self._tell)

    def _tell(self) -> None:
        store, world = self._picker.datastore, self._world
        pool = self._plan.manifests.pools.get((store.namespace, store.pool))
        store.replace(
            Endpoint(
                name=each.name,
                namespace=each.namespace,
                address=each.address,
                port=each.port,
                metrics_host=f"{each.address}:{each.port}",
                labels=each.labels,
                pod_name=each.name,
            )
            for each in (self.table.endpoints(pool) if pool is not None else ())
        )
        for endpoint in store.endpoints:
            rank = self.ranks.get(endpoint.host_port)
            if rank is None or (rank.eye is not None and rank.eye.endpoint is endpoint):
                continue
            self._started += 1
            interval = self._picker.settings.interval
            ticks = Ticks(world.now + interval * phase_of(self._started), interval)
            sight = self._sight(rank, endpoint)
            rank.watched_by(Eye(self._picker, endpoint, rank.exposition, sight, ticks, lambda: world.now))

    def _sight(self, rank: Rank, endpoint: Endpoint) -> Sight:
        key = str(self.table.get(rank.pod).server.workload)
        sight = self._sights.get(key)
        if sight is None:
            sight = self._sights[key] = probe(self._picker, endpoint, rank.exposition)
        return sight

    # -- what is done to them -------------------------------------------------------------------------------

    def kill(self, name: str) -> str:
        """As `kill -9`: all that it had is lost. Raises ControlError for a pod that does not exist."""
        pod = self.table.get(name)
        self._end(pod, PodState.KILLED)
        return f"pod {pod.name} killed"

    def restart(self, name: str) -> str:
        """Empty caches on the old address. Raises ControlError."""
        pod = self.table.get(name)
        self._end(pod, PodState.KILLED)
        self._boot(pod, at_once=False)
        self.publish()
        return f"pod {pod.name} restarted"

    def drain(self, name: str, grace: float = DRAIN_S) -> str:
        """Nothing new; it ends when it has finished what it has, or after `grace` seconds.

        Raises ControlError for a pod that does not run.
        """
        pod = self.table.get(name)
        if not pod.is_running:
            raise ControlError(f"pod {pod.name} is {pod.state} already")
        self._drain(pod, grace, gone=False)
        return f"pod {pod.name} drained"

    def scale(self, target: str, replicas: int) -> str:
        """Pods are added, or the last ones drained and removed. Raises ControlError for no such workload."""
        server = self._plan.server(target)
        pods = [pod for pod in self.table.of_workload(server) if pod.state is not PodState.DRAINING]
        for _ in range(replicas - len(pods)):
            self._add(server)
        for pod in pods[replicas:]:
            if pod.is_running:
                self._drain(pod, DRAIN_S, gone=True)
            else:
                self.table.remove(pod)
        self.publish()
        return f"{server.workload.name}: {len(pods)} -> {replicas} pods"

    def _drain(self, pod: Pod, grace: float, *, gone: bool) -> None:
        pod.state = PodState.DRAINING
        self.publish()
        self._world.at(self._world.now + POLL_S, self._drained, pod, self._world.now + grace, gone)

    def _drained(self, pod: Pod, deadline: float, gone: bool) -> None:
        """Looks every POLL_S whether it has finished."""
        if pod.state is not PodState.DRAINING:
            return
        now = self._world.now
        if now < deadline and any(rank.engine.num_unfinished for rank in self.of_pod[pod.name]):
            self._world.at(min(now + POLL_S, deadline), self._drained, pod, deadline, gone)
            return
        self._end(pod, PodState.DRAINED)
        if gone:
            self.table.remove(pod)

    def _end(self, pod: Pod, state: PodState) -> None:
        for rank in self.of_pod.pop(pod.name, ()):
            rank.advance(self._world.now)
            rank.is_up = False
            if rank.eye is not None:
                rank.eye.ticks.last = self._world.now  # scrapes fail from here on and leave what was seen
            self._unseen.discard(rank)
            self._world.remove(rank)
            self.ranks.pop(rank.host_port, None)
            self._on_lost(rank)
        pod.state = state
        self.publish()


def server_config(plan: Plan, server: ServerPlan, name: str, address: str, directory: Path) -> ServeConfig:
    """What the flags of a pod of that name come to; its volumes go below `directory`.

    Raises ManifestError for a container that cannot be run.
    """
    return serving.server_config(plan.manifests, server, name, address, directory / "volumes")[0]


def not_simulated(config: ServeConfig) -> list[str]:
    """What the flags of a model server ask for and a simulation leaves out, each with its consequence."""
    asked = {
        "failure injection": config.faults.rate > 0,
        "fake metrics": config.fake_metrics is not None,
        "limits of queued requests": config.max_num_queued_reqs is not None
        or config.max_num_queued_tokens is not None
        or config.max_waiting_queue_length is not None,
        "transfer of KV between prefill and decode": config.kv_role is not None,
    }
    return [
        f"{what} of the model servers: not simulated, they run without"
        for what, is_asked in asked.items()
        if is_asked
    ]
