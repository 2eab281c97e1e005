"""What images start by themselves, and whom they want imitated; by name, for nothing else is at hand."""

from __future__ import annotations

import re
from collections.abc import Sequence

# image -> the words of its entrypoint; None: a server of its own kind, with what it is
_ENTRYPOINTS: tuple[tuple[re.Pattern[str], tuple[str, ...] | None, str], ...] = (
    (re.compile(r"(^|/)nim/|/nim-"), None, "NVIDIA NIM, which starts by its own variables"),
    (re.compile(r"text-generation-inference"), None, "Hugging Face TGI"),
    (re.compile(r"text-embeddings-inference"), None, "Hugging Face TEI"),
    (re.compile(r"huggingfaceserver"), None, "KServe's Hugging Face server"),
    (re.compile(r"(^|/)tritonserver"), None, "NVIDIA Triton"),
    (re.compile(r"(^|/)ollama(:|@|$)"), None, "Ollama"),
    (re.compile(r"llm-d-inference-sim"), ("llm-d-inference-sim",), ""),
    (re.compile(r"simfleet"), ("simfleet", "serve"), ""),
    (re.compile(r"vllm|(^|/)llm-d"), ("vllm", "serve"), ""),
)
# Images whose answers differ from the simulator's own default.
_COMPAT = (
    (re.compile(r"(^|/)llm-d-inference-sim:v?0\.[0-7](\.|$)"), "llm-d-0.7"),
    (re.compile(r"(^|/)llm-d-inference-sim:v?0\.8(\.|$)"), "llm-d-0.8"),
    (re.compile(r"(^|/)llm-d-inference-sim:v?0\.9(\.|$)"), "llm-d-0.9"),
    (re.compile(r"(^|/)llm-d-inference-sim(:|@|$)"), "llm-d-0.10"),
    (re.compile(r"(^|/)vllm-openai:v0\.11\."), "vllm-0.11"),
)


_VLLM = re.compile(r"(?:^|/)vllm[\w-]*:v?(\d+\.\d+\.\d+)")
_IMITATED = "0.33.0"  # the vLLM that the simulator imitates where nothing says otherwise


def vllm_version(image: str) -> str:
    """What `vllm --version` says in an image: its tag's where it is vLLM's own, else the imitated one."""
    found = _VLLM.search(image)
    return found[1] if found else _IMITATED


def entrypoint(image: str) -> tuple[str, ...] | str | None:
    """The words that an image starts with; a text that says what it is instead; None for an unknown one."""
    for pattern, words, about in _ENTRYPOINTS:
        if pattern.search(image):
            return about if words is None else words
    return None


def with_compat(image: str, flags: Sequence[str]) -> list[str]:
    """`flags` with the --compat that the image calls for, unless they or a config file may name one."""
    named = any(f.split("=")[0] in {"--compat", "--config"} for f in flags)
    found = next((name for pattern, name in _COMPAT if pattern.search(image)), None)
    return list(flags) if named or found is None else [*flags, "--compat", found]
