"""Token ids of a generate route made into the answer of a chat or a completion.

The server keeps nothing between the chunks of a stream: what it needs of the earlier ones is carried by the
client. Rules of vLLM 0.33's `renderers/online_derenderer.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simulator.config.compat import Compat
from simulator.engine.text.tokenizer import Tokenizer
from simulator.server.answers.reasoning import Reasoning, Splitter, split_whole
from simulator.server.answers.tools import ToolCall, call_object, new_call_id
from simulator.server.errors import ApiError
from simulator.server.prepared import ordered
from simulator.server.requests.scale_out import DerenderStreamState, GenerateLogProbs
from simulator.server.requests.schema import ChatCompletionRequest, CompletionRequest
from simulator.server.requests.validation import parse_text
from simulator.sources.hf_tokenizer import byte_alphabet

Asked = ChatCompletionRequest | CompletionRequest | None
_CONTEXT = 4  # tokens that the name of one which is no whole character depends on
_BROKEN = "\ufffd"
_CHAR_OF = {byte: char for char, byte in byte_alphabet().items()}
_BYTE_OF = byte_alphabet()


@dataclass(frozen=True, slots=True)
class Reading:
    """How the ids of one request are read. `parses`: a parser of the server takes answers apart."""

    tokenizer: Tokenizer
    compat: Compat
    request: Asked
    reasoning: Reasoning | None = None
    parses: bool = False

    @property
    def skips_special(self) -> bool:
        """Parsers look at markers, everybody else is spared them."""
        return not self.parses and (self.request is None or self.request.skip_special_tokens is not False)

    @property
    def hides(self) -> bool:
        """Whether tokens are kept back, which would show a thought that is not to be seen."""
        return (
            self.parses
            and isinstance(self.request, ChatCompletionRequest)
            and not (self.request.include_reasoning)
        )

    def without_stop(
        self, ids: list[int], finish: str | None, stop: int | str | None
    ) -> tuple[list[int], int | str | None]:
        """The ids that are text, and the stop reason: the token that stopped generation is none."""
        if finish != "stop" or isinstance(stop, str) or not ids:
            return ids, stop
        request, last = self.request, ids[-1]
        if stop is None:
            honoured = request is None or not request.ignore_eos
            if not (honoured and last == self.tokenizer.eos_token_id):
                if request is None or last not in (request.stop_token_ids or ()):
                    return ids, None
                stop = last
        elif last != stop:
            return ids, stop
        if request is not None and request.include_stop_str_in_output:
            return ids, stop
        return ids[:-1], stop

    def text(
        self, ids: list[int], finish: str | None, stop: int | str | None
    ) -> tuple[str, int | str | None]:
        """The text of a whole answer, cut at the stop string that ended it, and its stop reason."""
        request, reported = self.request, stop
        ids, stop = self.without_stop(ids, finish, stop)
        text = self.tokenizer.decode(ids, self.skips_special)
        if finish != "stop" or isinstance(reported, int):
            return text, stop
        stops: Sequence[str] = [reported] if isinstance(reported, str) else ()
        if reported is None and request is not None and request.stop:
            stops = [request.stop] if isinstance(request.stop, str) else request.stop
        least = request.min_tokens if request is not None else 0
        begin = len(self.tokenizer.decode(ids[:least], self.skips_special)) if least > 0 else 0
        for one in filter(None, stops):
            at = text.find(one, max(0, begin - len(one) + 1))
            if at >= 0:
                keep = request is not None and request.include_stop_str_in_output
                return text[: at + len(one) if keep else at], one
        return text, stop

    def message(self, text: str) -> dict[str, Any]:
        """A chat's message of a whole text."""
        content: str | None = text
        values: dict[str, Any] = {"role": "assistant"}
        if self.reasoning is not None:
            thought, content = split_whole(self.reasoning, text)
            values[self.reasoning.key] = thought if self.reasoning.included else None
        calls = self.calls(content)
        values["content"] = content if calls is None else self.compat.automatic_call_content
        if calls is not None:
            values["tool_calls"] = calls
        return ordered(self.compat.bodies.chat_message, values, self.compat.bodies.optional)

    def calls(self, content: str | None) -> list[dict[str, Any]] | None:
        """The calls that a whole text is, in the form that models here write them in; None: it is none."""
        request = self.request
        if not self.parses or not isinstance(request, ChatCompletionRequest) or not request.tools:
            return None
        if request.tool_choice == "none" or not (content or "").startswith('[{"name": '):
            return None
        try:
            said = parse_text(content or "", "The calls")
        except ApiError:
            return None
        if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in said):
            return None
        made = [
            ToolCall(
                new_call_id(self.compat),
                call["name"],
                json.dumps(call.get("parameters") or {}, ensure_ascii=False),
            )
            for call in said
        ]
        return [call_object(call, call.arguments, i, self.compat) for i, call in enumerate(made)]

    def logprobs(
        self, given: GenerateLogProbs, before: Sequence[int] = (), most: int | None = None
    ) -> dict[str, Any]:
        """Logprobs by id as a chat tells them; `before` are the ids that came earlier."""
        if given.content is None:
            return {"content": None}
        context = list(before)
        content = []
        for entry in given.content:
            top = entry.top_logprobs if most is None else entry.top_logprobs[:most]
            content.append(
                {
                    **self._named(entry.token_id, entry.logprob, context),
                    "top_logprobs": [self._named(one.token_id, one.logprob, context) for one in top],
                }
            )
            context = [*context, entry.token_id][-_CONTEXT:]
        return {"content": content}

    def _named(self, token: int, value: float, context: list[int]) -> dict[str, Any]:
        name = self.tokenizer.decode([token])
        if name.endswith(_BROKEN):
            name = self._name_after(token, context)
        return {"token": name, "logprob": value, "bytes": list(name.encode("utf-8", "replace"))}

    def _name_after(self, token: int, context: list[int]) -> str:
        """What a token adds that alone is no whole character; nothing where it completes none."""
        decode = self.tokenizer.decode
        for count in range(1, len(context) + 1):
            earlier = context[-count:]
            full = decode([*earlier, token])
            if not full.endswith(_BROKEN):
                while earlier and decode([earlier[-1]]).endswith(_BROKEN):
                    earlier.pop()
                return full[len(decode(earlier)) :]
        return ""

    def completion_logprobs(
        self, given: GenerateLogProbs, resolved: dict[str, Any], offset: int
    ) -> dict[str, Any]:
        """The same as a completion tells them."""
        made: dict[str, Any] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
        for entry, source in zip(resolved["content"] or (), given.content or (), strict=True):
            made["text_offset"].append(offset)
            made["token_logprobs"].append(entry["logprob"])
            made["tokens"].append(entry["token"])
            tops = {top["token"]: top["logprob"] for top in entry["top_logprobs"]}
            made["top_logprobs"].append(tops if source.top_logprobs else None)
            offset += len(entry["token"])
        return made

    def delta(self, ids: Sequence[int], state: DerenderStreamState) -> str:
        """The text that `ids` add; the window of `state` moves on.

        ApiError for a window that no server has made.
        """
        try:
            window = [bytes(_BYTE_OF[char] for char in token) for token in state.prev_tokens]
        except KeyError as error:
            raise ApiError(f"invalid stream_state: detokenization failed ({error})") from None
        prefix, read = state.prefix_offset, state.read_offset
        said = ""
        for token in ids:
            if self.skips_special and self.tokenizer.is_special(token):
                continue
            window.append(self.tokenizer.token_bytes(token))
            known = b"".join(window[prefix:read]).decode("utf-8", "replace")
            whole = b"".join(window[prefix:]).decode("utf-8", "replace")
            if len(whole) > len(known) and not whole.endswith(_BROKEN):
                said += whole[len(known) :]
                prefix, read = read, len(window)
            window, read, prefix = window[prefix:], read - prefix, 0
        state.prev_tokens = ["".join(_CHAR_OF[byte] for byte in token) for token in window]
        state.prefix_offset, state.read_offset = prefix, read
        return said


def replayed(reading: Reading, state: DerenderStreamState, ids: list[int], finished: bool) -> dict[str, Any]:
    """The delta that a chunk adds where a parser takes answers apart: all chunks are read once more.

    ApiError for a state that cannot be read.
    """
    splitter = Splitter(reading.reasoning) if reading.reasoning is not None else None
    window = DerenderStreamState()
    said = _said_before(reading, splitter, state, window)
    thought, content = "", reading.delta(ids, window)
    if splitter is not None:
        thought, content = splitter.feed(content, finished)
    delta: dict[str, Any] = {"role": None if state.role_sent else "assistant"}
    delta |= _content_or_calls(reading, said, content, finished)
    if reading.reasoning is not None:
        delta[reading.reasoning.key] = thought or None if reading.reasoning.included else None
    if ids:
        state.output_token_ids = [*state.output_token_ids, *ids]
        state.output_chunk_lens = [*state.output_chunk_lens, len(ids)]
    state.role_sent = True
    state.tools_streamed = state.tools_streamed or "tool_calls" in delta
    state.last_tool_call_ids = [
        call["id"] for call in delta.get("tool_calls", ())
    ] or state.last_tool_call_ids
    return delta


def _said_before(
    reading: Reading, splitter: Splitter | None, state: DerenderStreamState, window: DerenderStreamState
) -> str:
    """The content of the chunks so far; splitter and window have read them then."""
    said, start = "", 0
    for length in state.output_chunk_lens:
        text = reading.delta(state.output_token_ids[start : start + length], window)
        start += length
        said += text if splitter is None else splitter.feed(text, False)[1]
    return said


def _content_or_calls(reading: Reading, said: str, content: str, finished: bool) -> dict[str, Any]:
    """What of a chunk's content is told, or the calls that it completes."""
    whole = said + content
    if not _may_be_calls(reading, whole):  # where it was held until now, all of it is told
        return {"content": (whole if _may_be_calls(reading, said) else content) or None}
    calls = reading.calls(whole) if finished else None
    if calls is not None:
        return {"content": None, "tool_calls": calls}
    return {"content": whole if finished else None}


def _may_be_calls(reading: Reading, said: str) -> bool:
    """Whether a text that has begun so is held until it is known to be calls or not."""
    request = reading.request
    if not isinstance(request, ChatCompletionRequest) or not request.tools or request.tool_choice == "none":
        return False
    start = '[{"name": '
    return bool(said) and (said.startswith(start) or start.startswith(said))
