"""What a scenario's YAML may hold, as types: editors get their JSON schema from these.

The reader (read.py) decides, and knows what goes together; this says which keys there are and of which kind.
A test holds both to the same keys.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Duration = Annotated[float, Meta(ge=0)] | Annotated[str, Meta(description="30s, 250ms, 1h30m")]
Share = Annotated[float, Meta(ge=0, le=1)] | Annotated[str, Meta(description="25%", pattern=r"%$")]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Weight = Annotated[float, Meta(ge=0)]
Scalar = str | int | float | bool
Headers = dict[str, Scalar]


class Document(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of every part: unknown keys are errors."""


class Distribution(Document):
    distribution: Literal["fixed", "uniform", "normal", "lognormal", "exponential", "empirical"] | None = None
    type: Literal["fixed", "uniform", "normal", "lognormal", "exponential", "empirical"] | None = None
    mean: Duration | None = None
    stddev: Duration | None = None
    min: Duration | None = None
    max: Duration | None = None
    value: Duration | None = None
    values: list[Duration] | None = None
    weights: list[Weight] | None = None


Tokens = Natural | Distribution
Seconds = Annotated[float, Meta(ge=0)] | str | Distribution


class Stage(Document):
    rate: Weight
    duration: Duration
    to: Weight | None = None
    shape: Literal["linear", "exponential"] | None = None


class OnOff(Document):
    on: Duration
    off: Duration
    off_rate: Share | None = None
    random: bool | None = None


class Arrival(Document):
    process: Literal["constant", "poisson", "gamma", "clients", "burst", "trace", "closed"] | None = None
    rate: Positive | None = None
    to: Positive | None = None
    shape: Literal["linear", "exponential"] | None = None
    stages: list[Stage] | None = None
    on_off: OnOff | None = None
    burstiness: Positive | None = None
    requests: Count | None = None
    duration: Duration | None = None
    offset: Duration | None = None
    time_scale: Positive | None = None
    size: Count | None = None
    every: Duration | None = None
    users: Count | None = None
    concurrency: Count | None = None
    think: Seconds | None = None
    pause_on_error: Duration | None = None


class Load(Document):
    """inference-perf's; a stage has `rate` and `duration`, or the two keys of a concurrent one."""

    stages: list[dict[str, Any]]
    type: Literal["constant", "poisson", "concurrent"] | None = None
    interval: Duration | None = None
    num_workers: Any = None
    worker_max_concurrency: Any = None
    worker_max_tcp_connections: Any = None
    request_timeout: Any = None
    base_seed: Any = None


class Prefix(Document):
    groups: Count
    tokens: Tokens
    zipf: Weight | None = None
    hot: Share | None = None


class Sessions(Document):
    turns: Tokens
    think: Seconds | None = None
    input_tokens: Tokens | None = None
    on_error: Literal["abort", "continue"] | None = None


class Trace(Document):
    file: str
    format: Literal["mooncake", "azure", "burstgpt", "bailian", "sharegpt", "timed_trace", "openai"]
    block_size: Count | None = None
    limit: Count | None = None


class Retry(Document):
    attempts: Count
    on: list[str] | None = None
    backoff: Duration | None = None
    factor: Annotated[float, Meta(ge=1)] | None = None
    max_backoff: Duration | None = None
    jitter: Share | None = None
    retry_after: bool | None = None


class Cancel(Distribution):
    """A number of tokens, or `tokens:` with the `share:` of the requests that leave."""

    tokens: Tokens | None = None
    share: Share | None = None


class SloHeaders(Document):
    ttft: Duration | None = None
    tpot: Duration | None = None


class TrafficClass(Document):
    name: str | None = None
    arrival: Arrival | None = None
    weight: Weight | None = None
    api: Literal["completions", "chat", "responses", "messages", "embeddings"] | None = None
    path: Annotated[str, Meta(pattern="^/")] | None = None
    model: str | None = None
    models: list[str] | dict[str, Weight] | None = None
    adapters: list[str] | dict[str, Weight] | None = None
    prompt: str | None = None
    form: Literal["text", "tokens"] | None = None
    vocabulary: Annotated[int, Meta(ge=1100)] | None = None
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    prefix: Prefix | None = None
    sessions: Sessions | None = None
    preset: Literal["chat", "code", "doc-qa", "agent"] | None = None
    trace: Trace | None = None
    headers: Headers | None = None
    objective: Scalar | None = None
    fairness_id: Scalar | None = None
    slo_headers: SloHeaders | None = None
    stream: bool | None = None
    ignore_eos: bool | None = None
    session_token: bool | None = None
    max_tokens: Count | None = None
    timeout: Duration | None = None
    ttft_timeout: Duration | None = None
    itl_timeout: Duration | None = None
    cancel_after: Natural | Cancel | None = None
    priority: int | None = None
    retry: Retry | None = None
    body: dict[str, Any] | None = None


class Event(Document):
    at: Duration
    name: str | None = None
    run: str | None = None
    url: Annotated[str, Meta(pattern="^https?://")] | None = None
    method: str | None = None
    body: Scalar | None = None


class Scrape(Document):
    pods: str | list[str] | None = None
    fleet: str | None = None
    stack: str | None = None
    epp: str | list[str] | None = None
    prometheus: str | None = None
    interval: Duration | None = None
    decision_log: str | None = None


class Arm(Document):
    name: str | None = None
    setup: str | None = None
    teardown: str | None = None
    target: str | None = None
    env: Headers | None = None
    scrape: Scrape | None = None


class FleetNeeds(Document):
    replicas: Count | None = None
    args: list[Scalar] | None = None
    objectives: dict[str, int] | None = None
    picker: dict[str, Any] | None = None


class Tls(Document):
    insecure: bool | None = None
    ca: str | None = None
    server_name: str | None = None


class Slo(Document):
    ttft: Duration | None = None
    tpot: Duration | None = None
    itl: Duration | None = None
    ntpot: Duration | None = None
    e2e: Duration | None = None


class ScenarioDocument(Document):
    """A scenario of `loadgen run`, `compare`, `sweep` and `simfleet simulate`."""

    name: str | None = None
    description: str | None = None
    target: str | None = None
    model: str | None = None
    seed: Natural | None = None
    duration: Duration | None = None
    rate: Annotated[float, Meta(gt=0)] | None = None
    load: Load | None = None
    defaults: TrafficClass | None = None
    classes: dict[str, TrafficClass | None] | list[TrafficClass] | None = None
    tokenizer: str | None = None
    processes: Annotated[int, Meta(ge=1, le=256)] | None = None
    connections: Natural | None = None
    max_in_flight: Count | None = None
    grace: Duration | None = None
    ready_timeout: Duration | None = None
    idle_timeout: Duration | None = None
    warmup: Duration | None = None
    repeats: Count | None = None
    api_key_env: str | None = None
    chunk_times: bool | None = None
    http2: bool | None = None
    tls: Tls | None = None
    redact: list[str] | str | None = None
    slo: Slo | None = None
    expect: list[str] | None = None
    timeline: list[Event] | None = None
    arms: dict[str, Arm | None] | list[Arm] | None = None
    scrape: Scrape | None = None
    fleet: FleetNeeds | None = None
