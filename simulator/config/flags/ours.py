"""Flags that neither vLLM nor llm-d-inference-sim has."""

from __future__ import annotations

from simulator.config.compat import DEFAULT_COMPAT
from simulator.config.flags.flag import Flag, Kind, Source

_S: tuple[Source, ...] = ("simfleet",)

SIMFLEET_FLAGS = (
    Flag("config", Kind.TEXT, "simulator", "YAML file of flags; the command line wins.", "none",
         ("vllm", "llm-d", "simfleet")),
    Flag("compat", Kind.TEXT, "simulator", "Whose answers, errors and semantics.", DEFAULT_COMPAT, _S),
    Flag("strict", Kind.BOOL, "simulator", "Nothing beyond the imitated server: its content types, its "
         "metric families, LoRA and runtime LoRA routes only where it has them.", "false", _S),
    Flag("metrics-compat", Kind.TEXT, "simulator", "Exactly the metric families of one server.",
         "compat's, and both names of the KV gauge", _S),
    Flag("strict-content-type", Kind.BOOL, "simulator",
         "Refuse bodies that are not application/json, as vLLM.", "false", _S),
    Flag("latency", Kind.TEXT, "latency (step model)",
         "zero: everything is instant; constant: llm-d's flags; step: the step model.",
         "by the flags given", _S, choices=("zero", "constant", "step")),
    Flag("profile", Kind.TEXT, "latency (step model)",
         "Step model of a model and GPU, such as llama-3.1-8b/h100; `simfleet profiles` lists them; "
         "or a file that `simfleet calibrate` wrote.",
         "none", _S),
    Flag("step-model", Kind.JSON, "latency (step model)",
         "Coefficients in microseconds: c0, c1, c2, k, c3, c4, c5. Dotted: --step-model.c0 6394.",
         "the profile's", _S),
    Flag("host-overhead-per-step", Kind.DURATION, "latency (step model)", "Added to each step.",
         "the profile's", _S, minimum=0),
    Flag("host-overhead-per-sequence", Kind.DURATION, "latency (step model)",
         "Added for each sequence in a step.", "the profile's", _S, minimum=0),
    Flag("api-overhead", Kind.DURATION, "latency (step model)",
         "From the arrival of a request at the API until the engine has it.", "the profile's, else 0", _S,
         minimum=0),
    Flag("step-jitter", Kind.FLOAT, "latency (step model)", "Standard deviation of a step as a share of it.",
         "0", _S, minimum=0, maximum=0.3),
    Flag("lora-load-time", Kind.DURATION, "LoRA", "Time that loading an adapter stalls a step.", "0", _S,
         minimum=0),
    Flag("thinking-tokens", Kind.TEXT, "text", "Tokens of a thought before each chat answer: 400, or "
         "mean:400,std-dev:200,share:0.9,max:4000 (log-normal).",
         "none; with --reasoning-parser mean:128,std-dev:64, at most half of max_tokens", _S),
    Flag("spec-acceptance", Kind.TEXT, "speculative decoding", "Share of drafts whose first tokens are all "
         "accepted, one a position: 0.8,0.6,0.4; 0.7: the same chance at each; length:2.4: tokens of a step.",
         "0.7 at each", _S),
    Flag("spec-draft-time", Kind.DURATION, "speculative decoding", "What one pass of the drafter adds to a "
         "step.", "4 % of the step model's c0; ngram and suffix: 0", _S, minimum=0),
    Flag("shutdown-mode", Kind.TEXT, "server", "On SIGTERM. abort: as vLLM; drain: as vLLM with "
         "--shutdown-timeout; kubernetes: readiness 503 first, requests in flight finish, exit 0.",
         "drain with a --shutdown-timeout, else abort", _S, choices=("abort", "drain", "kubernetes")),
    Flag("control-port", Kind.INT, "faults", "Port of the control API.", "off", _S, minimum=1,
         maximum=65535),
    Flag("control-host", Kind.TEXT, "faults", "Its address; anything but loopback needs a token.",
         "127.0.0.1", _S),
    Flag("control-token", Kind.TEXT, "faults", "Bearer token of the control API.", "none", _S),
    Flag("pod-name", Kind.TEXT, "server", "x-inference-pod of answers.", "POD_NAME", _S),
    Flag("pod-namespace", Kind.TEXT, "server", "x-inference-namespace of answers.",
         "POD_NAMESPACE or NAMESPACE", _S),
    Flag("check-invariants", Kind.BOOL, "simulator",
         "Check the engine's state after every step (slow); where it contradicts itself the process ends "
         "with exit code 1.", "false", _S),
    Flag("log-format", Kind.TEXT, "metrics and logs", "Form of log lines.", "text", _S,
         choices=("text", "json")),
)  # fmt: skip
