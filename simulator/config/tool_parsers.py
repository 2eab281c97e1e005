"""The tool call parsers of vLLM 0.33 by name: those on its parser engine, and the others.

Every parser here reads what the imitated model says, since that is the model's own form of calls. Which kind
it is decides what vllm:tool_call_parser_invocations counts.
"""

from __future__ import annotations

from simulator.config.commandline.given import Values
from simulator.config.compat import Compat
from simulator.config.reasoning import DIALECTS
from simulator.errors import ConfigError

_ENGINE_NAMES = """
deepseek_v32 deepseek_v4 deepseek_v41 gemma4 glm45 glm47 granite inkling k2_horizon kimi_k2 ling3 mimo
minimax_m2 minimax_m3 mistral plamo3 qwen3_coder qwen3_xml seed_oss step3p5 step5
"""
_OTHER_NAMES = """
apertus beam cohere_command3 cohere_command4 deepseek_v3 deepseek_v31 dots ernie45 functiongemma gigachat3
granite-20b-fc granite4 hermes hf hunyuan_a13b hy_v3 hy_v4 internlm jamba kimi_k3 lfm2 llama3_json llama4_json
llama4_pythonic longcat minicpm5 muse muse_glimmer musespark1x olmo3 openai phi4_mini_json poolside_v1
pythonic qwen3_json step3 xlam
"""
ON_ENGINE = frozenset(_ENGINE_NAMES.split())
OTHERS = frozenset(_OTHER_NAMES.split())


def check_tool_parser(values: Values, compat: Compat) -> None:
    """--enable-auto-tool-choice needs a parser that vLLM 0.33 has; raises ConfigError in its words."""
    if not values.get("enable-auto-tool-choice", False) or not compat.tool_flags:
        return
    name = values.text("tool-call-parser")
    if name is None:
        raise ConfigError("--enable-auto-tool-choice requires --tool-call-parser")
    known = ON_ENGINE | OTHERS
    if compat.recent_fields and name not in known and values.get("tool-parser-plugin") is None:
        raise ConfigError(
            f"{values.where('tool-call-parser')}: invalid tool call parser: {name} "
            f"(chose from {{ {','.join(sorted(known))} }})"
        )


def parses_without_tools(parser: str | None, reasoning_parser: str | None) -> bool:
    """Whether vLLM's parser sees answers to requests without tools too: one engine takes all apart then."""
    if parser not in ON_ENGINE:
        return False
    return reasoning_parser is None or DIALECTS[reasoning_parser].engine
