"""--speculative-config, its short forms and --spec-acceptance."""

from __future__ import annotations

import pytest

from simulator.config.resolve import parse_args
from simulator.config.speculation import acceptance
from simulator.engine.pace.latency import StepModel
from simulator.errors import ConfigError
from simulator.sources.parts import latency_model

EAGLE = '{"method":"eagle3","num_speculative_tokens":3}'


def test_short_forms_say_the_same() -> None:
    long = parse_args(["--speculative-config", EAGLE], {}).engine.spec
    assert parse_args(["--spec-method", "eagle3", "--spec-tokens", "3"], {}).engine.spec == long
    named = parse_args(["--spec-model", "org/EAGLE3-llama", "--spec-tokens", "3"], {}).engine.spec
    assert named == long
    with pytest.raises(ConfigError, match="mutually exclusive"):
        parse_args(["--speculative-config", EAGLE, "--spec-tokens", "3"], {})


@pytest.mark.parametrize(
    ("text", "rates"),
    [("0.5", (0.5, 0.25, 0.125)), ("0.9,0.5,0.2", (0.9, 0.5, 0.2)), ("length:2.5", (1.0, 0.5, 0.0))],
)
def test_acceptance(text: str, rates: tuple[float, ...]) -> None:
    assert acceptance(text, 3, "--spec-acceptance") == rates
    made = parse_args(["--speculative-config", EAGLE, "--spec-acceptance", text], {}).engine.spec
    assert made is not None
    assert made.acceptance == rates


def test_vllms_own_synthetic_rates() -> None:
    synthetic = (
        '{"method":"mtp","num_speculative_tokens":2,"rejection_sample_method":"synthetic",'
        '"synthetic_acceptance_rates":[0.8,0.3]}'
    )
    made = parse_args(["--speculative-config", synthetic], {}).engine.spec
    assert made is not None
    assert made.acceptance == (0.8, 0.3)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"method":"eagle4","num_speculative_tokens":3}', "eagle4"),
        ('{"method":"eagle"}', "num_speculative_tokens"),
        ('{"method":"eagle","num_speculative_tokens":3,"tokens":1}', "unknown key"),
        ('{"method":"eagle","num_speculative_tokens":3,"tensor_parallel_size":1}', "draft_tensor"),
        ('{"method":"eagle","num_speculative_tokens":1,"synthetic_acceptance_rates":[1]}', "synthetic"),
    ],
)
def test_what_vllm_does_not_have_is_named(config: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_args(["--speculative-config", config], {})


def test_what_changes_nothing_is_said() -> None:
    config = '{"method":"eagle","num_speculative_tokens":3,"draft_tensor_parallel_size":1}'
    assert "draft_tensor_parallel_size" in parse_args(["--speculative-config", config], {}).warnings[0]
    constant = ["--speculative-config", EAGLE, "--inter-token-latency", "5"]
    made = parse_args(constant, {})
    assert made.engine.spec is None
    assert "left out" in made.warnings[0]


def test_ngram_is_not_scheduled_ahead() -> None:
    ngram = '{"method":"ngram","num_speculative_tokens":3}'
    assert not parse_args(["--speculative-config", ngram], {}).engine.async_scheduling
    assert parse_args(["--speculative-config", EAGLE], {}).engine.async_scheduling


@pytest.mark.parametrize(("flags", "ms"), [((), 3 * 0.04 * 6.394), (("--spec-draft-time", "500us"), 1.5)])
def test_the_drafter_takes_its_time(flags: tuple[str, ...], ms: float) -> None:
    made = parse_args(["--speculative-config", EAGLE, "--profile", "llama-3.1-8b/h100", *flags], {})
    model = latency_model(made.latency, 8, 0, made.engine.spec)
    assert isinstance(model, StepModel)
    assert model._drafting * 1e3 == pytest.approx(ms)
