"""What images start by themselves, and whom they want imitated; by name, for nothing else is at hand."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.containers.known import of_image

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
    known = of_image(image)
    if known is None:
        return None
    return (known.entrypoint or None) if known.is_imitated else known.about


def with_compat(image: str, flags: Sequence[str]) -> list[str]:
    """`flags` with the --compat that the image calls for, unless they or a config file may name one."""
    named = any(f.split("=")[0] in {"--compat", "--config"} for f in flags)
    found = next((name for pattern, name in _COMPAT if pattern.search(image)), None)
    return list(flags) if named or found is None else [*flags, "--compat", found]
