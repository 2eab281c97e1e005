"""Which profiles run for a request: one alone, by a header, or decode, prefill and encode (disaggregation).

A handler chooses profiles by what the ones before came to, until it chooses none; then it says which of them
has the destination. Facts: llm-d-inference-scheduler v0.4 to v0.7 and llm-d-router's profilehandler/.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from gateway.picker.compat import Compat
from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins.base import Plugin, PluginContext, ProfileHandler, Results
from gateway.picker.plugins.scheduler import Cycle, Scheduler, UnschedulableError
from gateway.picker.plugins.text.prompts import BYTES_PER_TOKEN, prompt_bytes, pseudo_tokens
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest

# Headers that tell the sidecar beside the model server where the other parts of the work are.
PREFILL_HEADER = "x-prefiller-host-port"
ENCODE_HEADER = "x-encoder-hosts-ports"
RANK_HEADER = "x-data-parallel-host-port"
NO_DECODE = "failed to find available decode workers"
_MEDIA = ("image_url", "video_url", "input_audio", "audio_url", "image")


@dataclass(slots=True)
class Scheduling:
    """All profiles with their handler. `run` gives the cycle that has the destination, the others in it."""

    handler: ProfileHandler
    schedulers: Mapping[str, Scheduler]
    compat: Compat

    def prepare(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> None:
        """Let every producer add its data."""
        next(iter(self.schedulers.values())).prepare(request, candidates)

    def run(self, request: InferenceRequest, candidates: list[Candidate]) -> Cycle:
        """UnschedulableError where the profile that counts found nobody."""
        if self.handler.is_single:
            return next(iter(self.schedulers.values())).run(request, candidates)
        cycles: dict[str, Cycle] = {}
        results: Results = {}
        while chosen := self.handler.choose(request, self.schedulers, results):
            for name in chosen:
                try:
                    cycles[name] = self.schedulers[name].run(request, candidates)
                    results[name] = cycles[name].picked
                except UnschedulableError as error:
                    cycles[name], results[name] = error.cycle, None
        name, message = self.handler.conclude(request, results)
        if message:
            raise UnschedulableError(cycles.get(name) or Cycle(name), message=message)
        request.state["profiles"] = {other: found for other, found in results.items() if found}
        cycle = cycles.pop(name)
        cycle.others = cycles
        cycle.port = self.handler.port
        return cycle


class HeaderProfileParameters(msgspec.Struct, rename="camel"):
    header_name: str = ""
    default_profile: str = ""


class HeaderProfileHandler(ProfileHandler):
    """header-profile-handler: the client names the profile."""

    is_single = False

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._given = context.decode(HeaderProfileParameters)
        if not self._given.header_name:
            raise PickerConfigError(f"plugin '{self.name}' (type {self.type_name}): headerName is missing")

    def choose(self, request: InferenceRequest, profiles: Collection[str], results: Results) -> Sequence[str]:
        if results:
            return ()
        if len(profiles) == 1:
            return tuple(profiles)
        name = request.headers.get(self._given.header_name.lower(), "") or self._given.default_profile
        return (name,) if name in profiles else ()

    def conclude(self, request: InferenceRequest, results: Results) -> tuple[str, str]:
        if not results:
            asked = request.headers.get(self._given.header_name.lower(), "")
            return "", f"no scheduling profile matches the header '{self._given.header_name}' ('{asked}')"
        name, found = next(iter(results.items()))
        return name, "" if found else f"failed to run scheduler profile '{name}'"


class PrimaryPortParameters(msgspec.Struct, rename="camel"):
    primary_port: int = 8000


class DataParallelProfileHandler(ProfileHandler):
    """data-parallel-profile-handler: requests go to one port, and a header says for which rank."""

    is_single = False

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self.port = _checked_port(context.decode(PrimaryPortParameters).primary_port)

    def choose(self, request: InferenceRequest, profiles: Collection[str], results: Results) -> Sequence[str]:
        return () if results else tuple(profiles)[:1]

    def conclude(self, request: InferenceRequest, results: Results) -> tuple[str, str]:
        name, found = next(iter(results.items()))
        return name, "" if found else f"failed to run scheduler profile '{name}'"

    def pre_request(self, request: InferenceRequest, target: Candidate) -> None:
        request.headers[RANK_HEADER] = target.endpoint.host_port


class Decider(Plugin):
    """Whether a request is worth a second endpoint."""

    def disaggregates(self, request: InferenceRequest, decode: Candidate | None) -> bool:
        raise NotImplementedError


class AlwaysDecider(Decider):
    """always-disagg-pd-decider."""

    def disaggregates(self, request: InferenceRequest, decode: Candidate | None) -> bool:
        return True


class MultimodalDecider(Decider):
    """always-disagg-multimodal-decider: requests with pictures, films or sounds."""

    def disaggregates(self, request: InferenceRequest, decode: Candidate | None) -> bool:
        for message in request.body.payload.get("messages") or ():
            content = message.get("content") if isinstance(message, dict) else None
            blocks = content if isinstance(content, list) else ()
            if any(isinstance(block, dict) and block.get("type") in _MEDIA for block in blocks):
                return True
        return False


class PrefixDeciderParameters(msgspec.Struct, rename="camel"):
    non_cached_tokens: int = 0
    prompt_tokens: int = 0


class PrefixDecider(Decider):
    """prefix-based-pd-decider: as many tokens as that are not cached where it is decoded; 0: never."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._given, self._estimate = context.decode(PrefixDeciderParameters), context.estimate
        if min(self._given.non_cached_tokens, self._given.prompt_tokens) < 0:
            raise PickerConfigError(
                f"plugin '{self.name}': nonCachedTokens and promptTokens cannot be negative"
            )

    def disaggregates(self, request: InferenceRequest, decode: Candidate | None) -> bool:
        given = self._given
        if not given.non_cached_tokens or decode is None:
            return False
        tokens = sum(len(p) // BYTES_PER_TOKEN for p in pseudo_tokens(request, self._estimate))
        if tokens < max(given.prompt_tokens, given.non_cached_tokens):
            return False
        return tokens - decode.prefix_matched * decode.prefix_block_tokens >= given.non_cached_tokens


class DisaggParameters(msgspec.Struct, rename="camel"):
    """Of disagg-profile-handler and pd-profile-handler, in the nested form and in the flat one."""

    stage_order: str = ""
    profiles: dict[str, str] = {}
    deciders: dict[str, str] = {}
    decode_profile: str = ""
    prefill_profile: str = ""
    encode_profile: str = ""
    prefill_decider_plugin_name: str = ""
    encode_decider_plugin_name: str = ""
    decider_plugin_name: str = ""
    primary_port: int = 0
    prefix_plugin_type: str = ""
    prefix_plugin_name: str = ""
    prefix_match_info_producer_name: str = ""
    threshold: int = 0  # bytes that are not cached, up to v0.5
    hash_block_size: int = 64

    def profile(self, stage: str) -> str:
        """The name of a stage's profile."""
        flat = {
            "decode": self.decode_profile,
            "prefill": self.prefill_profile,
            "encode": self.encode_profile,
        }
        return self.profiles.get(stage) or flat[stage] or stage


_ORDERS = {"": False, "decodefirst": False, "decode": False, "prefillfirst": True, "prefill": True}


class DisaggProfileHandler(ProfileHandler):
    """disagg- and pd-profile-handler: decode, then what its deciders ask for, or prefill first."""

    is_single = False

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        given = self._given = context.decode(DisaggParameters)
        self._compat = context.compat
        self.decode, self.prefill = given.profile("decode"), given.profile("prefill")
        self.encode = given.profile("encode")
        self.port = _checked_port(given.primary_port) if given.primary_port else 0
        self._is_pd = self.type_name == "pd-profile-handler"
        order = given.stage_order.replace("-", "").replace("_", "").lower()
        if order not in _ORDERS:
            raise PickerConfigError(
                f'invalid stage order "{given.stage_order}", must be "decode-first" or "prefill-first"'
            )
        self._prefill_first = _ORDERS[order]
        if given.threshold < 0 or given.hash_block_size <= 0:
            raise PickerConfigError("invalid threshold or hashBlockSize: must be >= 0 and > 0")
        self._deciders: dict[str, Decider] = {}

    def bind(self, plugins: Mapping[str, Plugin]) -> None:
        """Look up the deciders; PickerConfigError for a name that is none."""
        given = self._given
        names = {
            self.prefill: given.deciders.get("prefill")
            or given.prefill_decider_plugin_name
            or given.decider_plugin_name,
            self.encode: given.deciders.get("encode") or given.encode_decider_plugin_name,
        }
        if self._is_pd and not names[self.prefill] and not self._compat.pd_threshold:
            names[self.prefill] = "prefix-based-pd-decider"
        if self._prefill_first and names[self.prefill]:
            raise PickerConfigError("prefill decider is not supported in prefill-first stage order")
        for profile, name in names.items():
            if not name:
                continue
            decider = plugins.get(name)
            if not isinstance(decider, Decider):
                raise PickerConfigError(f"invalid decider plugin type: {name} of {self.name}")
            self._deciders[profile] = decider

    def choose(self, request: InferenceRequest, profiles: Collection[str], results: Results) -> Sequence[str]:
        if self._prefill_first:
            return self._prefill_then_decode(request, profiles, results)
        if self.decode not in results:
            return (self.decode,) if self.decode in profiles else ()
        found = results[self.decode]
        if not found:
            return ()
        for stage in (self.encode, self.prefill) if not self._is_pd else (self.prefill,):
            if stage in profiles and stage not in results:
                if self._wants(stage, request, found[0]):
                    return (stage,)
                results[stage] = None
        return ()

    def _prefill_then_decode(
        self, request: InferenceRequest, profiles: Collection[str], results: Results
    ) -> Sequence[str]:
        if self.decode in results:
            return ()
        if self.prefill in profiles and self.prefill not in results:
            return (self.prefill,)
        if self.encode in profiles and self.encode not in results:
            if self._wants(self.encode, request, None):
                return (self.encode,)
            results[self.encode] = None
        return (self.decode,) if self.decode in profiles else ()

    def _wants(self, stage: str, request: InferenceRequest, decode: Candidate | None) -> bool:
        decider = self._deciders.get(stage)
        if decider is not None:
            return decider.disaggregates(request, decode)
        return self._is_pd and decode is not None and self._above_threshold(request, decode)

    def _above_threshold(self, request: InferenceRequest, decode: Candidate) -> bool:
        """Up to llm-d v0.5: whether as many bytes as the threshold are not cached; 0: always."""
        given, size = self._given, len(prompt_bytes(request.body))
        if not given.threshold:
            return True
        # v0.4 still takes the first block for the model's name.
        hit = max(decode.prefix_matched - (1 if self._compat.name == "llm-d-v0.4" else 0), 0)
        return size - hit * given.hash_block_size >= given.threshold

    def conclude(self, request: InferenceRequest, results: Results) -> tuple[str, str]:
        if not results.get(self.decode):
            return self.decode, NO_DECODE
        used = [stage for stage in ("encode", "prefill") if results.get(getattr(self, stage))]
        decision = "-".join([*used, "decode"]) if used else "decode-only"
        request.state["disaggregation"] = (self, decision)
        return self.decode, ""

    def pre_request(self, request: InferenceRequest, target: Candidate) -> None:
        if self.port:
            request.headers[RANK_HEADER] = target.endpoint.host_port
        if not self._is_pd:
            set_headers(request, self.prefill, self.encode)


class DisaggHeadersParameters(msgspec.Struct, rename="camel"):
    prefill_profile: str = "prefill"
    encode_profile: str = "encode"


class DisaggHeadersHandler(Plugin):
    """disagg-headers-handler and prefill-header-handler: tell the sidecar where prefill and encode are."""

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._given = context.decode(DisaggHeadersParameters)

    def pre_request(self, request: InferenceRequest, target: Candidate) -> None:
        set_headers(request, self._given.prefill_profile, self._given.encode_profile)


def set_headers(request: InferenceRequest, prefill: str, encode: str) -> None:
    """The headers of a request's other endpoints; a client's own do not count."""
    profiles: Mapping[str, list[Candidate]] = request.state.get("profiles", {})
    request.headers.pop(PREFILL_HEADER, None)
    if found := profiles.get(prefill):
        request.headers[PREFILL_HEADER] = found[0].endpoint.host_port
    request.headers.pop(ENCODE_HEADER, None)
    if found := profiles.get(encode):
        request.headers[ENCODE_HEADER] = ",".join(c.endpoint.host_port for c in found)


def _checked_port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise PickerConfigError(f"invalid primaryPort: must be between 1 and 65535, got {port}")
    return port
