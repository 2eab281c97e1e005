"""The way of one request: gateway, picker, replica and back, each at its moment.

What Envoy and the network cost is a constant: a part of it lies before the pick, a part between pick and
replica, the rest on the way back. Everything else is the picker's own code, the server's own reading of a
body and the engine's own steps.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count
from math import inf

from gateway.errors import UndoneError
from gateway.picker.decisions import CLIENT_ID, REQUEST_ID
from gateway.picker.director import Director, Incoming, Routed
from gateway.picker.errors import RequestError
from gateway.picker.request import RequestBody
from gateway.simulate.calls import Call
from gateway.simulate.feed import Feed
from gateway.simulate.replicas.pods import Fleet
from gateway.simulate.replicas.ranks import Rank
from gateway.simulate.replicas.words import prompt_text
from simulator.engine.outputs import RequestOutput
from simulator.engine.request import Request
from simulator.errors import EngineError
from simulator.replay.world import World
from simulator.server.errors import ApiError

_TTL_REASONS = ("rejected-ttl-expired",)  # of a picker that let a request wait too long


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds from the client to the pick, from the pick to the replica, and from the replica back."""

    to_pick: float
    to_pod: float
    back: float

    @classmethod
    def of(cls, whole: float) -> Delays:
        """A gateway that adds `whole` seconds to the first token: half of it before the pick, a quarter on
        each of the other ways, as they were measured (docs/fidelity.md)."""
        return cls(whole * 0.5, whole * 0.25, whole * 0.25)

    @property
    def feedback(self) -> float:
        """The least time between an engine's output and a pick because of it, which looks at all engines."""
        return self.back + self.to_pick


class Way:
    """Takes calls to their ends; the job of each hears of it, when the client would."""

    def __init__(
        self,
        world: World,
        director: Director,
        feed: Feed,
        delays: Delays,
        run: str,
    ) -> None:
        self._world, self._director, self._feed, self._delays = world, director, feed, delays
        self._run = run
        self._calls: dict[str, Call] = {}  # at engines, by engine request
        self._numbers = count()
        self._waiting: set[asyncio.Task[None]] = set()
        self.fleet: Fleet | None = None
        self.undone: dict[str, int] = {}  # what was asked for and is not simulated -> requests

    def send(self, call: Call) -> None:
        """The client sends it now."""
        world, job = self._world, call.job
        timeout = job.unit.rules.timeout
        if timeout < inf:
            world.at(world.now + timeout, self._timed_out, call)
        world.at(world.now + self._delays.to_pick, self._pick, call)

    # -- the pick -------------------------------------------------------------------------------------------

    def _pick(self, call: Call) -> None:
        if call.outcome:
            return
        incoming = self._incoming(call)
        if self._director.flow_controller is not None:
            task = asyncio.get_running_loop().create_task(self._pick_later(call, incoming))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)
            self._world.interrupted = True
            return
        try:
            self._routed(call, self._director.handle(incoming))
        except RequestError as error:
            self._refused(call, error)

    async def _pick_later(self, call: Call, incoming: Incoming) -> None:
        try:
            routed = await self._director.handle_queued(incoming)
        except RequestError as error:
            self._refused(call, error)
        else:
            self._routed(call, routed)

    def _incoming(self, call: Call) -> Incoming:
        job, ask = call.job, call.job.ask
        headers = {CLIENT_ID: f"{self._run}/{job.id}", ":path": job.unit.rules.path}
        headers |= {name.lower(): value for name, value in ask.headers.items()}
        if job.unit.rules.session_token and job.token:
            headers["x-session-token"] = job.token
        headers.setdefault(REQUEST_ID, f"{self._run}-{job.id}" + (f"-{len(job.tries)}" if job.tries else ""))
        call.headers = headers
        if ask.traced is None:
            raw = self._feed.body(job.unit, ask, job.answers)
            call.sent_bytes = len(raw)
            return Incoming(headers, raw, {}, self._world.now)
        text = prompt_text(ask.traced.prompt)
        call.sent_bytes = len(text)
        body = RequestBody("completions", {"model": ask.model, "prompt": text, "stream": True})
        return Incoming(headers, b"", {}, self._world.now, body, len(text))

    def _refused(self, call: Call, error: RequestError) -> None:
        """The picker answers by itself."""
        dropped = error.dropped or ""
        outcome = "rejected_4xx" if error.status < 500 else "gateway_503"
        if dropped in _TTL_REASONS:
            outcome = "ttl_503"
        elif error.status == 429:
            outcome = "shed_429"
        if dropped and self._director.compat.dropped_reason:
            call.answered["x-llm-d-request-dropped-reason"] = dropped
        self._fail(call, outcome, error.status, dropped or error.message)

    def _routed(self, call: Call, routed: Routed) -> None:
        routed.request.body = RequestBody(routed.request.body.api, {})  # an answer may take long
        routed.cycle = None
        call.routed = routed
        if call.outcome:  # the client left while it waited in the queue
            self._complete(call)
            return
        self._world.at(self._world.now + self._delays.to_pod, self._arrive, call)

    # -- at the replica -------------------------------------------------------------------------------------

    def _arrive(self, call: Call) -> None:
        if call.outcome:
            return
        assert call.routed is not None
        assert self.fleet is not None
        rank = next(
            (r for e in call.routed.endpoints if (r := self.fleet.ranks.get(e.host_port)) is not None), None
        )
        if rank is None:
            self._fail(call, "gateway_503", 503, "upstream connect error: connection refused")
            return
        call.rank = rank
        call.key = f"{next(self._numbers)}-{call.job.id}"
        try:
            call.request = self._request(call, rank)
            self._world.give(rank, call.request, self._world.now)
        except ApiError as error:
            outcome = "rejected_4xx" if error.status < 500 else "upstream_5xx"
            self._fail(call, "shed_429" if error.status == 429 else outcome, error.status, error.message)
            return
        except UndoneError as error:
            self.undone[str(error)] = self.undone.get(str(error), 0) + 1
            self._fail(call, "rejected_4xx", 501, f"{error} is not simulated")
            return
        except EngineError as error:
            self._fail(call, "rejected_4xx", 400, str(error))
            return
        self._calls[call.key] = call
        call.begun = self._world.now + self._delays.back

    def _request(self, call: Call, rank: Rank) -> Request:
        ask = call.job.ask
        if ask.traced is not None:
            return rank.asking.of_trace(call.key, ask.traced)
        assert call.routed is not None
        body = self._feed.body(call.job.unit, ask, call.job.answers)
        request = rank.asking.of_body(
            call.key, call.job.unit.rules.path, body, call.routed.request.target_model
        )
        if ask.cancel is not None:
            request.stream = True  # the client counts tokens
        return request

    def on_output(self, output: RequestOutput) -> None:
        """An engine says something of one of ours."""
        request = output.request
        call = self._calls.get(request.request_id)
        if call is None:
            return
        cancel = call.job.ask.cancel
        if cancel is not None and output.finish_reason is None:
            call.tokens += len(output.new_token_ids)
            if call.tokens >= cancel:
                del self._calls[request.request_id]
                self._world.at(output.time + self._delays.back, self._cancelled, call)
            return
        if output.finish_reason is None:
            return
        del self._calls[request.request_id]
        call.text = output.text
        self._world.at(output.time + self._delays.back, self._answered, call)

    # -- endings --------------------------------------------------------------------------------------------

    def _answered(self, call: Call) -> None:
        if call.outcome:
            return
        self._times(call)
        call.outcome, call.status = "ok", 200
        self._end(call)

    def _times(self, call: Call) -> None:
        """When tokens came, as the client saw them."""
        request, back = call.request, self._delays.back
        if request is not None and request.first_token_time is not None:
            call.first = request.first_token_time + back
            call.last = (request.last_token_time or request.first_token_time) + back

    def _cancelled(self, call: Call) -> None:
        if not call.outcome:
            self._abort(call)
            self._times(call)
            call.outcome, call.status = "client_cancel", 200
            call.error = f"left after {call.job.ask.cancel} tokens, as planned"
            self._end(call)

    def _timed_out(self, call: Call) -> None:
        if not call.outcome:
            self._abort(call)
            call.outcome = "timeout"
            call.error = f"no answer within {call.job.unit.rules.timeout:g} s"
            self._end(call)

    def _abort(self, call: Call) -> None:
        """The client leaves; the engine hears of it."""
        self._calls.pop(call.key, None)
        if call.rank is not None and call.rank.is_up and call.request is not None:
            call.rank.advance(self._world.now)
            call.rank.engine.abort([call.key], self._world.now)
            call.rank.forget(call.key)
            self._world.queue(call.rank)

    def on_lost(self, rank: Rank) -> None:
        """A replica is gone: a stream breaks off, what had no answer yet gets the gateway's 503."""
        for call in [call for call in self._calls.values() if call.rank is rank]:
            del self._calls[call.key]
            self._times(call)
            if call.job.unit.rules.stream:
                self._fail(call, "reset", 200, "the connection was reset")
            else:
                self._fail(call, "gateway_503", 503, "upstream connect error: connection termination")

    def _fail(self, call: Call, outcome: str, status: int, error: str) -> None:
        """The client hears of it a moment later."""
        self._world.at(self._world.now + self._delays.back, self._failed, call, outcome, status, error)

    def _failed(self, call: Call, outcome: str, status: int, error: str) -> None:
        if not call.outcome:
            call.outcome, call.status, call.error = outcome, status, error
            self._end(call)

    def _end(self, call: Call) -> None:
        call.end = self._world.now
        call.settle()
        self._complete(call)
        call.job.done(call)

    def _complete(self, call: Call) -> None:
        routed = call.routed
        if routed is None:
            return
        if call.status == 200:
            headers: dict[str, str] = {}
            self._director.response_headers(routed, headers, {})
            call.answered |= headers
        self._director.complete(routed)
        call.routed = None
