"""A scenario as data: what load to make, what to watch, what to expect of it.

`scenario_reader` makes these from YAML with line numbers in its errors; everything else reads them.
Durations are seconds, rates requests per second, sizes tokens unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from loadgen.scenario.redaction import Secrets

Api = Literal["completions", "chat", "responses", "messages", "embeddings"]
PATHS: dict[str, str] = {
    "completions": "/v1/completions",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "embeddings": "/v1/embeddings",
}
# APIs whose answer is no text: nothing is streamed, and no limit on tokens is sent.
WHOLE_APIS = frozenset({"embeddings"})
# What an API's clients send with every request.
API_HEADERS = {"messages": {"anthropic-version": "2023-06-01"}}


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution of whole numbers or seconds.

    kind: fixed(mean) | uniform(low, high) | normal(mean, stddev) | lognormal(mean, stddev of the values)
    | exponential(mean) | empirical(values, weights); all are clipped to [low, high].
    """

    kind: Literal["fixed", "uniform", "normal", "lognormal", "exponential", "empirical"]
    mean: float = 0.0
    stddev: float = 0.0
    low: float = 0.0
    high: float = float("inf")
    values: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of time with one rate, or a rate that moves from `rate` to `end_rate`."""

    duration: float
    rate: float
    end_rate: float | None = None
    shape: Literal["linear", "exponential"] = "linear"


@dataclass(frozen=True, slots=True)
class OnOff:
    """Load that comes and goes; `random` draws each period from an exponential of its length."""

    on: float
    off: float
    off_rate: float = 0.0
    random: bool = False


# `requests` of an arrival whose trace says how many there are.
EVERY_ROW = 0


@dataclass(frozen=True, slots=True)
class Arrival:
    """When requests of a class are intended to start.

    process: constant, poisson and gamma are renewal processes of mean rate 1 stretched over `stages`
    (gamma's `burstiness` is its shape, as in vLLM: below 1 is burstier than Poisson); clients is the
    superposition of clients that a preset describes (its default); burst starts `size`
    requests at one instant every `every` seconds; trace takes its times from the workload's trace file;
    closed keeps `users` users busy, each waiting `think` seconds after an answer, and `pause_on_error` more
    after a failure (or a refusal that takes a millisecond would burn all requests in a second).
    """

    process: Literal["constant", "poisson", "gamma", "clients", "burst", "trace", "closed"]
    stages: tuple[Stage, ...] = ()
    burstiness: float = 1.0
    on_off: OnOff | None = None
    requests: int | None = None
    offset: float = 0.0
    size: int = 1
    every: float = 1.0
    duration: float | None = None
    users: int = 1
    think: Distribution | None = None
    pause_on_error: float = 0.1
    time_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Prefix:
    """Prompt beginnings shared by groups of requests.

    Group g is asked for with weight (g+1)**-zipf; with `hot`, group 0 gets that share, the others the rest.
    """

    groups: int
    tokens: Distribution
    zipf: float = 0.0
    hot: float | None = None


@dataclass(frozen=True, slots=True)
class Sessions:
    """Conversations: an arrival starts one; turn k+1 follows `think` seconds after the answer of turn k."""

    turns: Distribution
    think: Distribution
    input_tokens: Distribution | None = None
    on_error: Literal["abort", "continue"] = "abort"


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace file: lengths, times, shared blocks, texts or whole requests of recorded traffic."""

    path: Path
    format: Literal["mooncake", "azure", "sharegpt", "timed_trace", "bailian", "burstgpt", "openai"]
    block_size: int = 512
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """What requests of a class ask for."""

    prompt: str | None = None
    input_tokens: Distribution = Distribution("fixed", mean=128)
    output_tokens: Distribution = Distribution("fixed", mean=32)
    prefix: Prefix | None = None
    sessions: Sessions | None = None
    preset: str | None = None
    trace: Trace | None = None
    form: Literal["text", "tokens"] = "text"
    vocabulary: int = 32000


@dataclass(frozen=True, slots=True)
class Retry:
    """When and how a failed request is tried again."""

    attempts: int = 1
    on: tuple[str, ...] = ("shed_429", "ttl_503", "evicted", "gateway_503", "connect_error")
    backoff: float = 0.5
    factor: float = 2.0
    max_backoff: float = 30.0
    jitter: float = 0.1
    retry_after: bool = True


@dataclass(frozen=True, slots=True)
class ModelShare:
    """A model or adapter name and its weight in a mix."""

    name: str
    weight: float = 1.0
    adapter: bool = False


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """One class of traffic: its process, its workload and how it speaks to the server."""

    name: str
    arrival: Arrival
    workload: Workload
    models: tuple[ModelShare, ...]
    api: Api = "completions"
    path: str = "/v1/completions"
    stream: bool = True
    max_tokens: int | None = None
    ignore_eos: bool = False
    body: dict[str, object] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    session_token: bool = False
    timeout: float = 60.0
    ttft_timeout: float | None = None
    itl_timeout: float | None = None
    """Limits of their own for the first token and for the gap between two; of streams only."""
    cancel_after: Distribution | None = None
    cancel_share: float = 1.0
    retry: Retry = Retry()
    priority: int | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something done to the system at a planned moment: a shell command, or a control-API call."""

    at: float
    name: str
    run: str | None = None
    method: str = "POST"
    url: str | None = None
    body: str | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Arm:
    """One policy of an A/B comparison and the commands that bring its fleet up and down."""

    name: str
    setup: str | None = None
    teardown: str | None = None
    target: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    scrape: Scrape | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Expectation:
    """One line of `expect:`, as written."""

    text: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Scrape:
    """Whose /metrics to read during the run.

    pods: URLs or host:port, as NAME=URL where the name in their answers cannot be learnt; fleet: a command or
    file that gives `simfleet ps --format json`; stack: the one of that listing which is meant; epp: URL;
    prometheus: base URL of a Prometheus that scrapes them already.
    """

    pods: tuple[str, ...] = ()
    fleet: str | None = None
    stack: str | None = None
    epp: tuple[str, ...] = ()
    prometheus: str | None = None
    interval: float = 1.0
    decision_log: str | None = None


@dataclass(frozen=True, slots=True)
class FleetNeeds:
    """What the expectations suppose of the fleet; `loadgen scenarios NAME --manifests FILE` applies it.

    args: of the model servers, in place of flags of the same name; objectives: InferenceObjective names and
    priorities; picker: a whole EndpointPickerConfig.
    """

    replicas: int | None = None
    args: tuple[str, ...] = ()
    objectives: dict[str, int] = field(default_factory=dict)
    picker: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Tls:
    """How an https target is verified."""

    insecure: bool = False
    ca: str | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """All of it."""

    name: str
    classes: tuple[ClassSpec, ...]
    description: str = ""
    target: str | None = None
    seed: int = 0
    slo: dict[str, float] = field(default_factory=dict)
    """Limits in seconds by metric: ttft, tpot, itl, ntpot, e2e (report's names)."""
    expect: tuple[Expectation, ...] = ()
    timeline: tuple[Event, ...] = ()
    arms: tuple[Arm, ...] = ()
    repeats: int = 5
    scrape: Scrape | None = None
    fleet: FleetNeeds | None = None
    tls: Tls = Tls()
    processes: int = 1
    grace: float = 30.0
    ready_timeout: float = 10.0
    chunk_times: bool = True
    http2: bool = False
    connections: int = 0
    max_in_flight: int = 8192
    idle_timeout: float = 4.0
    warmup: float = 0.0
    """Requests intended in the first `warmup` seconds are sent and recorded, but left out of the figures."""
    source: str | None = None
    """Path of the YAML file, for messages."""
    text: str = ""
    """The YAML as read, secrets taken out, so that a run directory and a plan carry their scenario."""
    tokenizer: Path | None = None
    """tokenizer.json of the model, or its directory, by which lengths are exact."""
    api_key_env: str | None = None
    """Environment variable that holds the key which requests without an authorization header carry."""
    api_key: str | None = field(default=None, repr=False)
    """The key itself, from the command line or the environment; never written down."""
    secrets: Secrets = field(default_factory=Secrets, repr=False, compare=False)
    """What the placeholders in all other fields stand for."""
