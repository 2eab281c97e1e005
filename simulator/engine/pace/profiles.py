"""Named step models of model, GPU and tensor parallelism, each with its origin and error.

The twelve H100/H200/A100/L40S/B200 rows are fitted to the silicon tables of NVIDIA AIConfigurator
(PyPI aiconfigurator-core 0.12.0, Apache-2.0); the two RTX rows to the profiler tables of LLMServingSim (MIT).
Both are kernel times: the host's overhead stands beside them. Published measurements of whole servers
(bench/points.py) correct it where there are some, and are all that the mixture of experts is made of.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.engine.pace.latency import HostOverhead, StepCoefficients

_AIC = "NVIDIA AIConfigurator 0.12.0 silicon tables"
_LLMSERVINGSIM = "LLMServingSim profiler tables"
_PUBLISHED = "published TTFT and TPOT of whole servers, vLLM 0.18"
_GIB = 2**30
# what vLLM keeps besides weights and KV cache; both measured capacities below agree on it
_RESERVED_GIB = 1.55
_UTILIZATION = 0.9
KV_BANDWIDTH = 25e9  # bytes per second of a KV transfer between two servers


@dataclass(frozen=True, slots=True)
class Model:
    """Facts of a model in bfloat16: weights in GiB, KV cache bytes per token over all layers."""

    name: str
    weights_gib: float
    kv_bytes_per_token: int


@dataclass(frozen=True, slots=True)
class Gpu:
    """Facts of a GPU, and the defaults that vLLM's serve takes on it."""

    name: str
    memory_gib: float
    max_num_batched_tokens: int
    max_num_seqs: int
    host: HostOverhead
    host_source: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A step model with everything a server needs to behave like that machine."""

    name: str
    model: Model
    gpu: Gpu
    tensor_parallel_size: int
    coefficients: StepCoefficients
    source: str
    tables: str  # version of vLLM that the tables were measured with
    fit_error: tuple[float, ...]  # percent: mean, 95th percentile, maximum, as far as known
    mixed_error: tuple[float, float] | None  # percent, range on mixed steps that the fit has not seen
    measured_gpu_blocks: int | None = None
    api_us: float = 0.0  # what the API adds to each request before the engine has it
    own_host: tuple[HostOverhead, str] | None = None  # and its source; None: the GPU's
    checked: str = ""  # on what of whole servers, and how far off it is

    @property
    def host(self) -> HostOverhead:
        return self.own_host[0] if self.own_host else self.gpu.host

    @property
    def host_source(self) -> str:
        return self.own_host[1] if self.own_host else self.gpu.host_source

    @property
    def num_gpu_blocks(self) -> int:
        """Measured where somebody has, else estimated from memory, weights and KV size; blocks of 16."""
        if self.measured_gpu_blocks is not None:
            return self.measured_gpu_blocks
        per_gpu = self.gpu.memory_gib * _UTILIZATION - _RESERVED_GIB
        free = per_gpu * self.tensor_parallel_size - self.model.weights_gib
        return int(free * _GIB / (self.model.kv_bytes_per_token * 16))

    @property
    def kv_transfer_per_token(self) -> float:
        """Seconds to move one token's KV cache at KV_BANDWIDTH."""
        return self.model.kv_bytes_per_token / KV_BANDWIDTH


_H100_HOST = (HostOverhead(1000, 10), "fitted to vLLM 0.15 on H100")
_RTX_HOST = (HostOverhead(2000, 10), "fitted to vLLM 0.19 on RTX PRO 6000")
# 2000 us, also published for this GPU, makes the recorded run 4.6 % too slow; 1000 us meets it within 1 %
_RTX_4090_HOST = (HostOverhead(1000, 10), "fitted to the recorded vLLM 0.19 run on RTX 4090")
_ASSUMED_HOST = (HostOverhead(1000, 10), "assumed as on H100")

H100 = Gpu("H100 SXM", 80, 8192, 1024, *_H100_HOST)
H200 = Gpu("H200", 141, 8192, 1024, *_ASSUMED_HOST)
A100 = Gpu("A100 SXM", 80, 2048, 256, *_ASSUMED_HOST)
L40S = Gpu("L40S", 45, 2048, 256, *_ASSUMED_HOST)
B200 = Gpu("B200", 180, 16384, 1024, *_ASSUMED_HOST)
RTX_4090 = Gpu("RTX 4090", 24, 2048, 256, *_RTX_4090_HOST)
RTX_PRO_6000 = Gpu("RTX PRO 6000", 95, 8192, 1024, *_RTX_HOST)

LLAMA_8B = Model("Llama-3.1-8B", 14.96, 131072)
LLAMA_70B = Model("Llama-3.1-70B", 131.4, 327680)
QWEN25_7B = Model("Qwen2.5-7B", 14.19, 57344)
QWEN3_8B = Model("Qwen3-8B", 15.26, 147456)
QWEN3_32B = Model("Qwen3-32B", 61.02, 262144)
MINIMAX_M25 = Model("MiniMax-M2.5 (FP8)", 214.3, 253952)


def _aic(
    name: str,
    model: Model,
    gpu: Gpu,
    tp: int,
    coefficients: tuple[float, float, float, int, float, float, float],
    *,
    fit: tuple[float, float, float],
    mixed: tuple[float, float],
    tables: str = "0.24.0",
    blocks: int | None = None,
    api_us: float = 0.0,
    host: tuple[HostOverhead, str] | None = None,
    checked: str = "",
) -> Profile:
    step = StepCoefficients(*coefficients)
    return Profile(name, model, gpu, tp, step, _AIC, tables, fit, mixed, blocks, api_us, host, checked)


_QWEN3_32B_CHECKED = (
    "30 published points of vLLM 0.12 in closed loops of 8 to 128 users (prompts of 1024 and 4096 tokens, "
    "answers of 128 to 1024), to which the host's terms and the API's constant were fitted: medians of "
    "absolute errors E2E 2.9 %, TPOT 2.5 %, TTFT 18.1 %; at 4096 tokens TTFT is 30 to 50 % short"
)
_MINIMAX_CHECKED = (
    "15 published points of vLLM 0.18 in closed loops of 4 to 64 users (prompts, answers of 1024 and 8192 "
    "tokens), to which all coefficients were fitted: medians of absolute errors E2E 4.2 %, TPOT 4.2 %, "
    "TTFT 7.1 %. One engine holds all sequences: 15 points of four ranks that step together, with as many "
    "sequences in all, were measured within 1 % of its TPOT but for long prompts. That an idle rank waits "
    "for the busiest one, and that each rank has a KV cache of its own, is left out"
)

# coefficients: c0, c1, c2, k, c3, c4, c5
_PROFILES = (
    _aic(
        "llama-3.1-8b/h100",
        LLAMA_8B,
        H100,
        1,
        (6394, 10.29, 18.72, 512, 0.908, 0.04141, 0.001331),
        fit=(2.2, 5.7, 8.5),
        mixed=(-6.6, -0.8),
    ),
    _aic(
        "llama-3.1-8b/h100-tp2",
        LLAMA_8B,
        H100,
        2,
        (3992, 8.363, 12.21, 512, 0, 0.02054, 0.000633),
        fit=(2.0, 5.5, 12),
        mixed=(-5.7, -2),
    ),
    _aic(
        "llama-3.1-8b/h200",
        LLAMA_8B,
        H200,
        1,
        (4931, 10.88, 18.26, 384, 0.538, 0.02941, 0.001508),
        fit=(2.1, 5.0, 8.4),
        mixed=(-4.7, -0.6),
    ),
    _aic(
        "llama-3.1-8b/a100",
        LLAMA_8B,
        A100,
        1,
        (11670, 22.30, 54.84, 128, 0.510, 0.08265, 0.002966),
        fit=(2.2, 7.0, 18),
        mixed=(-2.8, 1.2),
        tables="0.14.0",
    ),
    _aic(
        "llama-3.1-8b/l40s",
        LLAMA_8B,
        L40S,
        1,
        (22340, 31.48, 63.52, 512, 4.04, 0.187, 0.005191),
        fit=(2.4, 5.0, 6.9),
        mixed=(-15.5, 2.7),
    ),
    _aic(
        "llama-3.1-8b/b200",
        LLAMA_8B,
        B200,
        1,
        (3406, 5.296, 8.945, 256, 0, 0.01757, 0.000702),
        fit=(2.4, 7.4, 13),
        mixed=(-6.4, -0.8),
    ),
    _aic(
        "llama-3.1-70b/h100-tp4",
        LLAMA_70B,
        H100,
        4,
        (15230, 33.78, 56.59, 320, 0, 0.02596, 0.003158),
        fit=(1.7, 3.9, 8.4),
        mixed=(-4.8, -1.6),
    ),
    _aic(
        "llama-3.1-70b/h100-tp8",
        LLAMA_70B,
        H100,
        8,
        (9978, 26.44, 38.43, 256, 0, 0.01276, 0.000697),
        fit=(2.9, 7.9, 16),
        mixed=(-1.6, 0.6),
    ),
    _aic(
        "llama-3.1-70b/a100-tp4",
        LLAMA_70B,
        A100,
        4,
        (27960, 75.06, 155.2, 128, 0, 0.05921, 0.002328),
        fit=(2.1, 4.6, 7.9),
        mixed=(-8.2, 0.5),
        tables="0.14.0",
    ),
    _aic(
        "qwen2.5-7b/h100",
        QWEN25_7B,
        H100,
        1,
        (5938, 8.327, 16.67, 320, 0, 0.01821, 0.001498),
        fit=(1.8, 4.0, 8.3),
        mixed=(-6.1, 0.6),
        blocks=65833,
    ),
    _aic(
        "qwen3-8b/h100",
        QWEN3_8B,
        H100,
        1,
        (6626, 12.80, 18.11, 512, 0, 0.04602, 0.001553),
        fit=(3.0, 8.1, 19),
        mixed=(-5.5, 2.4),
    ),
    _aic(
        "qwen3-32b/h100-tp2",
        QWEN3_32B,
        H100,
        2,
        (13690, 29.77, 48.93, 512, 0, 0.04082, 0.002246),
        fit=(2.9, 6.0, 19),
        mixed=(-13, -0.1),
        api_us=35_000,
        host=(HostOverhead(1300, 55), "fitted to the published points of vLLM 0.12"),
        checked=_QWEN3_32B_CHECKED,
    ),
    Profile(
        "minimax-m2.5/h100-tp4-ep4",
        MINIMAX_M25,
        H100,
        4,
        StepCoefficients(8790, 210, 28, 8, 180, 0.028, 0),
        _PUBLISHED,
        "0.18.0",
        (),
        None,
        api_us=15_000,
        own_host=(HostOverhead(), "in the coefficients"),
        checked=_MINIMAX_CHECKED,
    ),
    Profile(
        "llama-3.1-8b/rtx-pro-6000",
        LLAMA_8B,
        RTX_PRO_6000,
        1,
        StepCoefficients(11140, 18.8, 35.4, 256, 3.753, 0.08889, 0.003063),
        _LLMSERVINGSIM,
        "0.19.0",
        (1.9,),
        None,
    ),
    Profile(
        "llama-3.1-8b/rtx-4090",
        LLAMA_8B,
        RTX_4090,
        1,
        StepCoefficients(17040, 34.26, 89.91, 192, 6.506, 0.1414, 0.003838),
        _LLMSERVINGSIM,
        "0.19.0",
        (1.3,),
        None,
        measured_gpu_blocks=2588,
    ),
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in _PROFILES}
