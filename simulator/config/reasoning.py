"""How models write their thoughts: a dialect for each reasoning parser of vLLM 0.33.

A dialect is both halves of one thing: the markers that the imitated model writes around its thought, and what
the parser of that name makes of them. Sources: vLLM 0.33's `reasoning/` and `parser/`, and the chat formats
that they document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from simulator.config.commandline.given import Values
from simulator.engine.text.output_length import ThinkingLength
from simulator.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Dialect:
    """`start` thought `end` answer `ending`.

    `thinks`: always; unless a request's chat_template_kwargs say no; only if they say yes, or name an effort.
    """

    start: str = "<think>"
    end: str = "</think>"
    gap: str = "\n\n"  # what the model writes between `end` and its answer; content to the parser
    ending: str = ""
    thinks: Literal["always", "unless-off", "if-on", "if-effort"] = "unless-off"
    start_optional: bool = True  # text that begins without `start` is thought already
    engine: bool = True  # 0.33's engine parsers: white space before the content waits for more
    counts_without_start: bool = True  # reasoning tokens count where the prompt holds `start`
    strips_content: bool = False  # newlines at the beginning of the content are dropped
    shows_thought: bool = False  # nothing is split: the content keeps thought and markers


_R1 = Dialect(thinks="always", engine=False, counts_without_start=False)
_V3 = replace(_R1, thinks="if-on")
_QWEN = Dialect()
_HY = replace(_R1, thinks="if-effort")
_CHANNELS = Dialect(
    "<|channel|>analysis<|message|>",
    "<|end|><|start|>assistant<|channel|>final<|message|>",
    gap="",
    thinks="always",
    engine=False,
)
_COHERE = Dialect(
    "<|START_THINKING|>",
    "<|END_THINKING|><|START_RESPONSE|>",
    gap="",
    ending="<|END_RESPONSE|>",
    thinks="always",
    engine=False,
    counts_without_start=False,
)
_MUSE = Dialect(
    "to=self<|message|>",
    "<|eom|><|start|>assistant to=user<|message|>",
    gap="",
    ending="<|eot|>",
    thinks="always",
    start_optional=False,
    engine=False,
)

DIALECTS: dict[str, Dialect] = {
    "deepseek_r1": _R1,
    "deepseek_v3": _V3,
    "deepseek_v4": _QWEN,
    "deepseek_v41": _QWEN,
    "poolside_v1": _V3,
    "cohere_command3": _COHERE,
    "cohere_command4": _COHERE,
    "ernie45": replace(
        _R1, end="</think>\n\n<response>\n", gap="", ending="\n</response>", strips_content=True
    ),
    "gemma4": Dialect("<|channel>thought\n", "<channel|>", gap="", thinks="if-on", start_optional=False),
    "glm45": _QWEN,
    "glm47": _QWEN,
    "ling3": _QWEN,
    "openai_gptoss": _CHANNELS,
    "granite": Dialect(
        "Here is my thought process:",
        "Here is my response:",
        gap="",
        thinks="always",
        start_optional=False,
        engine=False,
    ),
    "granite_thinking_parser": replace(_QWEN, strips_content=True),
    "hf": replace(_QWEN, engine=False),
    "beam": replace(_QWEN, engine=False),
    "holo2": replace(_R1, thinks="unless-off"),
    "hunyuan_a13b": replace(
        _R1, end="\n</think>\n<answer>\n", gap="", ending="\n</answer>", start_optional=False
    ),
    "hy_v3": _HY,
    "hy_v4": _HY,
    "kimi_k2": _QWEN,
    "kimi_k3": Dialect(
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|><|open|>response<|sep|>",
        gap="",
        ending="<|close|>response<|sep|><|close|>message<|sep|>",
        engine=False,
    ),
    "k2_horizon": replace(_R1, start="<ifm|think>", end="</ifm|think>"),
    "mimo": _QWEN,
    "minicpmv": _QWEN,
    "minimax_m2": replace(_QWEN, thinks="always"),
    "minimax_m2_append_think": replace(_R1, shows_thought=True),
    "minimax_m3": replace(_R1, start="<mm:think>", end="</mm:think>", start_optional=False),
    "mistral": Dialect("[THINK]", "[/THINK]", gap="", thinks="always", start_optional=False),
    "nemotron_v3": _QWEN,
    "olmo3": replace(_R1, gap=""),
    "plamo3": Dialect("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>", gap=""),
    "muse": _MUSE,
    "muse_glimmer": _MUSE,
    "musespark1x": _MUSE,
    "qwen3": _QWEN,
    "seed_oss": replace(_QWEN, start="<seed:think>", end="</seed:think>"),
    "step3": replace(_R1, counts_without_start=True),
    "step3p5": replace(_QWEN, thinks="always"),
    "step5": _R1,
    "inkling": Dialect(
        "<|content_thinking|>",
        "<|end_message|><|message_model|><|content_text|>",
        gap="",
        ending="<|end_message|>",
        thinks="always",
        start_optional=False,
    ),
}  # fmt: skip
_EFFORTS = {
    "medium": ("<ifm|think_fast>", "</ifm|think_fast>"),
    "low": ("<ifm|think_faster>", "</ifm|think_faster>"),
}


def for_request(name: str, kwargs: Mapping[str, Any]) -> tuple[Dialect, bool]:
    """The dialect of a parser under a request's chat_template_kwargs, and whether the model thinks at all."""
    dialect = DIALECTS[name]
    effort = kwargs.get("reasoning_effort")
    if name == "k2_horizon" and effort in _EFFORTS:
        start, end = _EFFORTS[effort]
        dialect = replace(dialect, start=start, end=end)
    if dialect.thinks == "always":
        return dialect, True
    if dialect.thinks == "if-effort":
        return dialect, effort not in (None, "no_think", "none")
    switches = [kwargs[key] for key in ("thinking", "enable_thinking") if kwargs.get(key) is not None]
    if not switches:
        return dialect, dialect.thinks == "unless-off"
    return dialect, any(map(bool, switches)) and effort != "none"


def chat_template_kwargs(
    defaults: Mapping[str, Any], own: Mapping[str, Any] | None, effort: str | None
) -> dict[str, Any]:
    """The arguments of a chat's template: the server's, the request's, and what an effort means."""
    kwargs = {**defaults, **(own or {})}
    if effort is not None:
        kwargs["reasoning_effort"] = effort
        if "enable_thinking" not in (own or {}):
            kwargs["enable_thinking"] = effort != "none"
    return kwargs


@dataclass(frozen=True, slots=True)
class ReasoningConfig:
    """Whether and how answers begin with a thought. `parser` None: nobody takes it out of the answer."""

    parser: str | None = None
    thinking: ThinkingLength | None = None  # None: the model does not think
    is_default: bool = False  # nobody asked for a length: at most half of max_tokens is thought
    forced_end: str | None = None  # --reasoning-config: what a model says whose budget is spent

    @property
    def budget_allowed(self) -> bool:
        """Whether thinking_token_budget may be asked for: a parser or the flag says which the markers are."""
        return self.parser is not None or self.forced_end is not None


_DEFAULT_THINKING = ThinkingLength(mean=128.0, std_dev=64.0)  # a short thought, so that it is seen at all


def reasoning_config(values: Values) -> ReasoningConfig:
    """From --reasoning-parser, --reasoning-config and --thinking-tokens.

    Raises ConfigError: a parser that vLLM 0.33 does not have, a distribution that cannot be read.
    """
    parser = values.text("reasoning-parser")
    settings = values.mapping("reasoning-config")
    where = values.where("reasoning-config")
    for key, value in settings.items():
        if key not in ("reasoning_parser", "reasoning_start_str", "reasoning_end_str"):
            raise ConfigError(
                f"{where}: unknown key {key!r}; there are reasoning_parser, reasoning_start_str and "
                "reasoning_end_str"
            )
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {key} must be text, not {value!r}")
    parser = parser or settings.get("reasoning_parser") or None
    if parser is not None and parser not in DIALECTS and values.get("reasoning-parser-plugin") is None:
        raise ConfigError(
            f"{values.where('reasoning-parser')}: invalid reasoning parser: {parser} "
            f"(chose from {{ {','.join(sorted(DIALECTS))} }})"
        )
    if parser is not None and parser not in DIALECTS:
        raise ConfigError(
            f"{values.where('reasoning-parser-plugin')}: plugins are Python code of vLLM's and are not run "
            f"here; name a parser of vLLM's own instead of {parser!r}"
        )
    forced = settings.get("reasoning_end_str") or None
    given = values.text("thinking-tokens")
    if given is not None:
        return ReasoningConfig(parser, thinking_length(given, values.where("thinking-tokens")), False, forced)
    if parser is not None:
        return ReasoningConfig(parser, _DEFAULT_THINKING, True, forced)
    return ReasoningConfig(forced_end=forced)


_KEYS = ("mean", "std-dev", "share", "max")


def thinking_length(text: str, where: str) -> ThinkingLength:
    """`400`, or `mean:400,std-dev:200,share:0.9,max:4000`; raises ConfigError."""
    pairs = [part.partition(":") for part in text.split(",")]
    if len(pairs) == 1 and not pairs[0][1]:
        pairs = [("mean", ":", text)]
    found: dict[str, float] = {}
    for key, _colon, value in pairs:
        name = key.strip()
        if name not in _KEYS or name in found:
            what = "is given twice" if name in found else "is none of " + ", ".join(_KEYS)
            raise ConfigError(
                f"{where}: {name!r} {what}; write 400, or mean:400,std-dev:200,share:0.9,max:4000"
            )
        try:
            found[name] = float(value)
        except ValueError:
            raise ConfigError(f"{where}: {name} must be a number, not {value!r}") from None
        limit = 1.0 if name == "share" else 1e6
        if not 0 <= found[name] <= limit:
            raise ConfigError(f"{where}: {name} must be from 0 to {limit:g}, not {value}")
    if "mean" not in found:
        raise ConfigError(f"{where}: mean is missing, the tokens of a thought")
    most = found.get("max")
    return ThinkingLength(
        found["mean"], found.get("std-dev", 0.0), found.get("share", 1.0), None if most is None else int(most)
    )
