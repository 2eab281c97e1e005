"""What a replica imitates: one table from a name to a frozen set of behaviours.

Code asks the table ("is the prompt clamped?"), never the name: a row decides what it is called after and
nothing else, and no value of a row is a version. Sources: recorded answers of vLLM 0.33, the sources of 0.11,
and llm-d-inference-sim v0.7.1 as run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from simulator.config.bodies import BODIES_011, BODIES_033, BODIES_LLMD, BODIES_LLMD_HEAD, Bodies, Keys
from simulator.engine.config import EngineRules
from simulator.errors import ConfigError

DEFAULT_COMPAT = "vllm-0.33"
LoRAGauge = Literal["current", "active", "with-outputs"]


@dataclass(frozen=True, slots=True)
class Compat:
    """The behaviours of one imitated server."""

    name: str
    version: str  # what /version says
    bodies: Bodies
    engine: EngineRules

    # command line
    arguments: Literal["argparse", "pflag"] = "argparse"  # vLLM's rules, or those of Go's flags
    older_flags: bool = False  # flags that vLLM 0.33 has no more are taken

    # flags that were not given
    model_required: bool = False  # --model has no default
    max_model_len: int | None = None  # None: that of a config.json, else 32768
    max_num_seqs: int | None = None  # None: the profile's, else 256
    num_gpu_blocks: int = 8192  # and twice max_model_len at least
    max_waiting_queue_length: int | None = None  # None: no limit
    async_scheduling: bool = True
    kv_event_encoding: Literal["map", "array"] = "map"
    kv_topic_port: bool = True  # the topic made of llm-d's flags has the port behind the address

    # requests
    suffix_message: str = "suffix is only supported for models with FIM completion rendering"
    missing_model: Literal["first-served", "unknown"] = "first-served"
    unknown_model_aliases: bool = True  # "Valid aliases: ..." and param "model"
    context_overflow: Literal["clamp", "reject", "reject-sum"] = "clamp"  # sum: of prompt and max_tokens
    default_completion_tokens: int | None = 16  # None: as many as fit
    max_temperature: float | None = 2.0
    max_stop_strings: int = 4  # VLLM_MAX_STOP_STRINGS
    zero_max_tokens: str = ""  # the words for max_tokens < 1, where they are not vLLM's
    empty_prompt_allowed: bool = False
    ignore_eos_needs_max_tokens: bool = False
    remote_decode_streams: bool = True  # False: do_remote_decode with stream is refused
    go_fields: bool = False  # as Go fills a struct: keys in any case, null as if absent, others dropped
    recent_fields: bool = True  # bad_words, logprob_token_ids, thinking_token_budget, ... are checked
    parameter_checks: bool = True  # ranges, logprobs, ids; False: values are taken as they come
    n_is_read: bool = True  # False: one choice, whatever n says
    messages_required: bool = True  # False: a chat without messages is an empty one
    media_parts: Literal["refused", "ignored"] = "refused"
    tokenize_both: Literal["prompt", "refused"] = "prompt"  # /tokenize with prompt and messages
    tokenize_nulls: Literal["checked", "absent"] = "checked"  # fields of /tokenize that are null

    # errors
    validation_errors: Literal["compact", "verbose", "go"] = "compact"  # their form; go: a line of text
    plain_parse_errors: bool = True  # go: that line alone is the answer; else an error object around it
    listed_refusals: bool = False  # a check of raw fields is one more validation error
    route_errors: Literal["json", "text"] = "json"  # 404 and 405 of unknown paths and methods
    error_param: bool = True  # "param" carries the field's name
    message_suffix: bool = True  # " (parameter=X, value=Y)" after VLLMValidationError texts

    # answers
    id_style: Literal["hex16", "hex32", "uuid"] = "hex16"
    fingerprint: bool = True
    zero_cached_tokens: bool = True  # prompt_tokens_details is there with 0 cached tokens too
    cached_tokens_alone: bool = False  # prompt_tokens_details holds nothing besides cached_tokens
    zero_logprobs: bool = True  # "logprobs": 0 of a completion gives the logprobs object
    empty_tool_calls: bool = False  # "tool_calls": [] in messages without calls
    automatic_call_content: str | None = None  # content beside calls that the model chose to make
    role_chunk: Literal["first-token", "at-once"] = "first-token"
    stop_chunk: bool = False  # finish_reason stop arrives in an empty chunk of its own
    go_json: bool = False  # Go's escapes of <, > and &
    remote_decode_finish: bool = False  # finish_reason remote_decode
    named_call_finish: Literal["stop", "tool_calls"] = "stop"  # of a tool call that the client named
    tool_flags: bool = True  # tools need --tool-call-parser (and --enable-auto-tool-choice)
    tool_call_keys: Keys = ("id", "type", "function")
    model_root: Literal["path", "name"] = "path"  # "root" of a model card
    health_body: bytes = b""
    ready_route: bool = True  # /ready, beside /health/ready
    reset_cache_body: bool = True  # {"success": true}; else an empty 200
    dev_bodies: bool = True  # sleep, wake_up answer JSON; else an empty 200
    embeddings: Literal["absent", "unsupported", "served"] = "absent"

    scale_out: bool = True  # render, derender and generate routes exist, if only to be refused
    admin_config: bool = False  # /admin/config, /fake_metrics and /query
    tls_reload: bool = False  # TLS files are read again when they have changed, without a flag
    invocations: bool = True  # /invocations, SageMaker's name of the generating routes
    remote_kv_always: bool = False  # kv_transfer_params count without --kv-transfer-config

    # sleep
    sleep_serves: bool = False  # a sleeping server still answers, and only its cache goes
    sleep_needs_flag: bool = False  # without --enable-sleep-mode and development mode /sleep does nothing
    multi_port: bool = False  # data-parallel ranks have a port each, without a flag that says so

    sleep_always: bool = False  # the routes exist whatever the environment says

    # LoRA
    lora_always: bool = False  # the routes exist whatever the environment says
    lora_path_required: bool = True
    lora_checks: Literal["all", "loaded", "name"] = "all"  # free name, load_inplace | not loaded | named
    lora_error_kind: str = "InvalidUserInput"  # type of these refusals
    lora_success_text: bool = True  # "Success: ..."; else an empty 200

    kv_cache_bounds_context: bool = (
        True  # max_model_len is no more than the KV cache holds; else 500 for what is
    )
    # metrics; the families themselves stand in server/metrics/families.py
    families: str = ""  # the row whose families these are; empty: its own
    metrics_content_type: bytes = b"text/plain; version=0.0.4; charset=utf-8"
    go_metrics: bool = False  # client_golang's: its numbers, untouched series hidden, nothing of a process
    engine_label: bool = True
    cache_labels: Literal["all", "older", "sizes"] = "all"  # which of cache_config_info
    lora_gauge: LoRAGauge = "active"  # with --metrics-compat; else current, for the sake of pickers
    lora_gauge_always: bool = False  # without --enable-lora too
    lora_gauge_whole_seconds: bool = False


_VLLM_033 = Compat(
    name=DEFAULT_COMPAT,
    version="0.33.0",
    bodies=BODIES_033,
    engine=EngineRules(),
    metrics_content_type=b"text/plain; version=1.0.0; charset=utf-8",
)

_VLLM_011 = replace(
    _VLLM_033,
    name="vllm-0.11",
    version="0.11.0",
    bodies=BODIES_011,
    older_flags=True,
    engine=EngineRules(
        admission="chunk",
        free_list="lru",
        stop_order="length-first",
        lora_scope="scheduled",
        prefix_queries="lookup",
        iteration_tokens="prompt",
        hash_keys="untagged",
        lone_prefill_is_capped=True,
        self_preemption_ends_pass=True,
        long_prompt_is_overtaken=True,
        deferred_order="reversed",
        detects_repetition=False,
        kv_hand_off="flat",
    ),
    async_scheduling=False,
    kv_event_encoding="array",
    suffix_message="suffix is not currently supported",
    recent_fields=False,
    scale_out=False,
    unknown_model_aliases=False,
    context_overflow="reject",
    max_temperature=None,
    max_stop_strings=1024,  # of this simulator: 0.11 has no limit
    validation_errors="verbose",
    listed_refusals=True,
    error_param=False,
    message_suffix=False,
    id_style="hex32",
    fingerprint=False,
    zero_cached_tokens=False,
    cached_tokens_alone=True,
    empty_tool_calls=True,
    reset_cache_body=False,
    dev_bodies=False,
    embeddings="unsupported",
    lora_checks="loaded",
    lora_error_kind="BadRequestError",
    metrics_content_type=b"text/plain; version=0.0.4; charset=utf-8",
    cache_labels="older",
    lora_gauge="with-outputs",
)

_LLMD_07 = replace(
    _VLLM_011,
    name="llm-d-0.7",
    version="0.7.1",
    bodies=BODIES_LLMD,
    arguments="pflag",
    kv_cache_bounds_context=False,
    invocations=False,
    remote_kv_always=True,
    model_required=True,
    max_model_len=1024,
    max_num_seqs=5,
    num_gpu_blocks=1024,
    max_waiting_queue_length=1000,
    kv_topic_port=False,
    missing_model="unknown",
    context_overflow="reject-sum",
    default_completion_tokens=None,
    zero_max_tokens="Max completion tokens and max tokens should be positive",
    empty_prompt_allowed=True,
    ignore_eos_needs_max_tokens=True,
    remote_decode_streams=False,
    go_fields=True,
    parameter_checks=False,
    n_is_read=False,
    messages_required=False,
    media_parts="ignored",
    tokenize_both="refused",
    tokenize_nulls="absent",
    validation_errors="go",
    route_errors="text",
    id_style="uuid",
    zero_logprobs=False,
    empty_tool_calls=False,
    automatic_call_content="",
    role_chunk="at-once",
    stop_chunk=True,
    go_json=True,
    remote_decode_finish=True,
    named_call_finish="tool_calls",
    tool_flags=False,
    tool_call_keys=("function", "id", "type", "index"),
    model_root="name",
    health_body=b"{}",
    embeddings="served",
    sleep_serves=True,
    sleep_needs_flag=True,
    sleep_always=True,
    multi_port=True,
    lora_always=True,
    lora_path_required=False,
    lora_checks="name",
    lora_error_kind="InvalidUserInput",
    lora_success_text=False,
    go_metrics=True,
    engine_label=False,
    cache_labels="sizes",
    lora_gauge="current",
    lora_gauge_always=True,
    lora_gauge_whole_seconds=True,
)


def _llmd(release: str, *, newest: bool = False) -> Compat:
    """A release after 0.7, by the newest one: `n`, JSON errors, cards with max_model_len, no /ready.

    What came last is said of the newest alone.
    """
    return replace(
        _LLMD_07,
        name=f"llm-d-{release}",
        version=f"{release}.0",
        bodies=BODIES_LLMD_HEAD,
        n_is_read=True,
        plain_parse_errors=False,
        health_body=b"",
        model_root="path",
        role_chunk="first-token",
        ready_route=False,
        families=_LLMD_07.name,
        admin_config=newest,
        tls_reload=newest,
    )


_ROWS = (_VLLM_033, _VLLM_011, _LLMD_07, _llmd("0.8"), _llmd("0.9"), _llmd("0.10", newest=True))
COMPATS: dict[str, Compat] = {row.name: row for row in _ROWS}


def compat(name: str) -> Compat:
    """The behaviours called `name`; raises ConfigError with the names there are."""
    try:
        return COMPATS[name]
    except KeyError:
        raise ConfigError(f"--compat {name!r} is unknown; there are {', '.join(COMPATS)}") from None
