"""Small engines and requests for the engine's tests."""

from __future__ import annotations

from typing import Any

from simulator.engine.config import EngineConfig
from simulator.engine.core import Engine
from simulator.engine.outputs import RequestOutput, StepOutput
from simulator.engine.pace.latency import BatchShape, LatencyModel
from simulator.engine.request import LoRARequest, Request, SamplingParams
from simulator.engine.text.plans import OutputPlan, TokenPlan
from simulator.engine.text.text_source import ConstantText, TextSource


class FixedSteps:
    """Every step takes one second; a pull takes `transfer` and an adapter `load` seconds."""

    lockstep = True
    factor = 1.0

    def __init__(self, step: float = 1.0, transfer: float = 5.0, load: float = 0.0) -> None:
        self.step = step
        self.transfer = transfer
        self.load = load
        self.shapes: list[tuple[int, int]] = []  # prefill tokens and decodes of each step

    def step_seconds(self, batch: BatchShape) -> float:
        self.shapes.append((batch.prefill_tokens, batch.num_decodes))
        return self.step

    def decode_line(self, num_decodes: int) -> tuple[float, float] | None:
        return self.step, 0.0

    def sequence_seconds(
        self,
        request: Request,
        num_new_tokens: int,
        is_prefill: bool,
        num_running: int,
    ) -> float:
        raise AssertionError("a lockstep engine does not ask")

    def kv_transfer_seconds(self, request: Request, num_tokens: int) -> float:
        return self.transfer

    def lora_load_seconds(self, lora: LoRARequest) -> float:
        return self.load


class Says:
    """A text source that says `tokens`, then EOS (id 2) if `stops`, else 7 for ever."""

    def __init__(self, tokens: list[int], stops: bool = True) -> None:
        self._plan = TokenPlan(tokens, (7,), 0, len(tokens) if stops else None, 2)

    def start(self, request: Request) -> OutputPlan:
        return self._plan


def engine(
    latency: LatencyModel | None = None, text: TextSource | None = None, tokenizer: Any = None, **config: Any
) -> Engine:
    """A synchronous engine with steps of one second, unless `config` says otherwise."""
    defaults: dict[str, Any] = {"async_scheduling": False, "num_gpu_blocks": 101, "check_invariants": True}
    return Engine(
        EngineConfig(**(defaults | config)), latency or FixedSteps(), text or ConstantText(7), tokenizer
    )


def request(name: str, prompt: int | list[int] = 10, max_tokens: int = 3, **fields: Any) -> Request:
    """A request whose prompt tokens depend on its name where only their number is given."""
    tokens = prompt if isinstance(prompt, list) else [1000 + sum(name.encode()) % 97] * prompt
    sampling = fields.pop("sampling", None) or SamplingParams(max_tokens=max_tokens)
    return Request(name, tokens, sampling, **fields)


def run(engine: Engine, until: float = float("inf")) -> list[StepOutput]:
    """Step by step, with invariants checked after each."""
    steps: list[StepOutput] = []
    while (due := engine.peek()) is not None and due <= until:
        steps.append(engine.step(due))
        engine.check_invariants()
    return steps


def scheduled_tokens(step: StepOutput) -> dict[str, int]:
    """Tokens by request id, in batch order."""
    return {request.request_id: n for request, n in step.scheduled.items()}


def outputs(steps: list[StepOutput]) -> dict[str, list[RequestOutput]]:
    """By request id."""
    found: dict[str, list[RequestOutput]] = {}
    for step in steps:
        for output in step.outputs:
            found.setdefault(output.request.request_id, []).append(output)
    return found


def times(steps: list[StepOutput], name: str) -> list[float]:
    """When the tokens of a request came."""
    return [output.time for output in outputs(steps).get(name, []) for _ in output.new_token_ids]
