"""POST /v1/chat/completions: the hot path, raw ASGI.

Order: who asks, what is asked, may it be spent, ask the engine, relay, book. Every way out of it books
exactly once, and before the last byte leaves, so that whoever has an answer may ask again at once: what the
engine reported, or else what was counted, or else (nothing came back, but the engine may have worked) the
worst case.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from gateway.bodies import (
    Answer,
    ChatRequest,
    Size,
    Usage,
    decode_answer,
    encode,
    measure,
    read,
    upstream_body,
)
from gateway.client import Broken, Reply
from gateway.errors import Refusal
from gateway.exchange import Exchange
from gateway.guard import Guard
from gateway.ledger import Reservation
from gateway.sse import Relay
from gateway.upstream import GARBLED, MOST_ANSWER_BYTES, Engine, UpstreamFailure

if TYPE_CHECKING:
    from gateway.app import Services

__all__ = ["Chat"]

_CUT = {
    "body": Refusal(408, "body_timeout", "the request's body did not arrive in time", close=True),
    "first_byte": Refusal(504, "upstream_timeout", "the model did not begin to answer in time"),
    "answer": Refusal(504, "upstream_timeout", "the model did not answer in time"),
    "idle": Refusal(504, "upstream_stalled", "the model stopped in the middle of its answer"),
    "total": Refusal(504, "request_timeout", "the request took too long"),
    "overrun": Refusal(502, "upstream_overrun", "the model did not stop where it was told to"),
    "drain": Refusal(503, "draining", "the gateway is being stopped", retry_after=1, close=True),
}


class Chat:
    """The endpoint; one for the process."""

    def __init__(self, services: Services) -> None:
        self._services, self._settings = services, services.settings

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one request.

        Raises:
            Refused: for an answer that has not begun.
        """
        guard = Guard(self._settings.timeout_total_seconds)
        try:
            await self._serve(exchange, guard)
        except asyncio.CancelledError:
            reason = guard.absorb()
            exchange.cut = reason
            if reason == "disconnect":
                exchange.status = exchange.status or 499
                return
            await exchange.fail(_CUT[reason])
        finally:
            guard.close()

    async def _serve(self, exchange: Exchange, guard: Guard) -> None:
        services, settings = self._services, self._settings
        exchange.user = await services.tokens.user(exchange.authorization)
        guard.expect("body", settings.timeout_body_seconds)
        request = read(await exchange.body(settings.limit_body_bytes))
        exchange.model = request.model
        size = measure(
            request,
            template=settings.template_tokens,
            default=settings.default_max_tokens,
            limit=settings.limit_request_tokens,
        )
        guard.expect("total", settings.timeout_total_seconds)
        guard.watch(exchange.watch)
        run = _Run(services, exchange=exchange, guard=guard, request=request, size=size)
        held = await services.ledger.reserve(
            exchange.user, request.model, size.worst, exchange.request_id, run.prepare
        )
        await run.run(held)


class _Run:
    """One request, from the question to the booking."""

    __slots__ = (
        "_body",
        "_booked",
        "_engine",
        "_exchange",
        "_guard",
        "_held",
        "_idle",
        "_relay",
        "_request",
        "_rest",
        "_sent",
        "_services",
        "_size",
    )

    def __init__(
        self,
        services: Services,
        *,
        exchange: Exchange,
        guard: Guard,
        request: ChatRequest,
        size: Size,
    ) -> None:
        self._services, self._exchange, self._guard = services, exchange, guard
        self._request, self._size = request, size
        self._engine: Engine = services.engines[request.model]
        self._idle = services.settings.timeout_idle_seconds
        self._sent = self._booked = False

    def prepare(self) -> None:
        """Whatever can be done before it is known whether the engine may be asked."""
        request, size = self._request, self._size
        options = request.stream_options
        self._relay = Relay(request.model, size.completion, options is not None and options.include_usage)
        self._body = upstream_body(request, self._engine.model, size.completion)

    async def run(self, held: Reservation) -> None:
        """Ask, relay, book on ``held``."""
        self._held = held
        outcome = "failed"
        try:
            await (self._stream() if self._request.stream else self._answer())
        except UpstreamFailure as failure:
            self._sent = self._sent and failure.reached
            await self._exchange.fail(failure.refusal)
        except asyncio.CancelledError:
            outcome = self._guard.reason or "drain"
            raise
        finally:
            if not self._booked:
                self._book(self._counted(), outcome)

    async def _ask(self) -> Reply:
        self._sent = True
        return await self._engine.ask(self._body, self._exchange.request_id)

    async def _answer(self) -> None:
        self._guard.expect("answer", self._services.settings.timeout_answer_seconds)
        reply = await self._ask()
        try:
            answer = decode_answer(await _whole(reply))
        except (Broken, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UpstreamFailure(GARBLED, reached=True) from None
        finally:
            reply.leave()
        self._engine.answered()
        answer.model = self._request.model
        usage = answer.usage or self._unreported(answer)
        answer.usage = usage
        self._guard.ending()
        self._book(usage, "done")
        await self._exchange.reply(encode(answer))

    def _unreported(self, answer: Answer) -> Usage:
        size = self._size
        spoken = len((answer.choices[0].message.content or "").encode())
        completion = min(size.completion, spoken)
        return Usage(size.prompt, completion, size.prompt + completion)

    async def _stream(self) -> None:
        self._guard.expect("first_byte", self._engine.first_byte)
        self._exchange.comment_every(self._services.settings.timeout_comment_seconds)
        reply: Reply | None = None
        try:
            reply = await self._ask()
            await self._relay_all(reply)
        except Broken:
            raise UpstreamFailure(GARBLED, reached=True) from None
        finally:
            await self._leave(reply)
        self._engine.answered()

    async def _relay_all(self, reply: Reply) -> None:
        """Relay until the end; this task wakes only for what :meth:`_pass` leaves to it."""
        exchange, guard, relay = self._exchange, self._guard, self._relay
        while not relay.done:
            if not await reply.pour(self._pass):
                raise UpstreamFailure(GARBLED, reached=True)  # ended without [DONE]
            if exchange.commenting:
                await exchange.end_comments()
                guard.expect("idle", self._idle)
            if relay.done:
                guard.ending()
                self._book(relay.usage or self._counted(), "done")
            if self._rest:
                await exchange.stream(self._rest, last=relay.done)
            if relay.overrun:
                raise UpstreamFailure(_CUT["overrun"], reached=True)

    def _pass(self, data: bytes) -> bool:
        """Relay ``data`` in the moment in which it comes.

        Returns:
            False when ``_rest`` has to be sent by the task: the first of a stream and its last, and what a
            client that is slow has to be waited for with.

        Raises:
            UpstreamFailure: when it is not what a stream consists of.
        """
        self._guard.postpone(self._idle)
        relay = self._relay
        out = relay.feed(data)
        if not relay.done and not relay.overrun and self._exchange.push(out):
            return True
        self._rest = out
        return False

    async def _leave(self, reply: Reply | None) -> None:
        """Close the upstream: at once when it still sends; back to the pool when it has ended."""
        if reply is None:
            return
        if self._relay.done and not reply.ended:
            # The client has everything; waiting a moment for the body's end saves a connection.
            with contextlib.suppress(TimeoutError, Broken):
                async with asyncio.timeout(0.05):
                    await reply.read()
        reply.leave()

    def _counted(self) -> Usage:
        """What to book when the engine reported nothing."""
        if not self._sent:
            return Usage()
        size = self._size
        if self._request.stream:
            return Usage(size.prompt, min(self._relay.chunks, size.completion))
        return Usage(size.prompt, size.completion)

    def _book(self, usage: Usage, outcome: str) -> None:
        exchange, held = self._exchange, self._held
        self._booked, exchange.usage = True, usage
        self._services.ledger.settle(held, usage.prompt_tokens, usage.completion_tokens, outcome)
        self._services.metrics.tokens(held.model, usage.prompt_tokens, usage.completion_tokens)


async def _whole(reply: Reply) -> bytes:
    """The whole body, which may not be larger than an answer can be.

    Raises:
        UpstreamFailure: when it is.
        Broken: when it does not come.
    """
    parts: list[bytes] = []
    size = 0
    while data := await reply.read():
        size += len(data)
        if size > MOST_ANSWER_BYTES:
            raise UpstreamFailure(GARBLED, reached=True)
        parts.append(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)
