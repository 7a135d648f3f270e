"""Server-sent events from an engine: cut, checked, counted, and written anew for the client."""

from __future__ import annotations

import msgspec

from gateway.bodies import Usage, decode_chunk, encode
from gateway.upstream import GARBLED, UpstreamFailure

__all__ = ["Relay"]

MOST_EVENT_BYTES = 1024 * 1024
OVERRUN = 8  # an engine may split its last tokens into a few chunks more than it was allowed tokens
_DONE = b"data: [DONE]\n\n"


class Relay:
    """One stream. ``feed`` takes what the engine sent and returns what the client gets.

    ``chunks`` counts those that carried text: the completion tokens, as far as a cut stream can tell.
    ``done`` is set by [DONE]; ``overrun`` when the engine goes on past what it was allowed.
    """

    __slots__ = ("_buffer", "_most", "_name", "_show_usage", "chunks", "done", "overrun", "usage")

    def __init__(self, name: str, most_tokens: int, show_usage: bool) -> None:
        self._buffer = b""
        self._name, self._most, self._show_usage = name, most_tokens + OVERRUN, show_usage
        self.chunks = 0
        self.done = self.overrun = False
        self.usage: Usage | None = None

    def feed(self, data: bytes) -> bytes:
        """Events for the client, possibly none.

        Raises:
            UpstreamFailure: when the engine sends something else than a stream of chunks.
        """
        if (
            data[:5] == b"data:"
            and data.find(b"\n") == len(data) - 2
            and data[-1:] == b"\n"
            and not self._buffer
        ):
            return self._data(data[5:-2].strip())  # one whole event, as an engine sends them
        data = self._buffer + data if self._buffer else data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        *events, self._buffer = data.split(b"\n\n")
        if len(self._buffer) > MOST_EVENT_BYTES:
            raise UpstreamFailure(GARBLED, reached=True)
        out = [self._event(event) for event in events if event]
        return out[0] if len(out) == 1 else b"".join(out)

    def _event(self, event: bytes) -> bytes:
        if event.startswith(b"data:") and b"\n" not in event:
            payload = event[5:].strip()
        else:  # comments, event names, ids: only the data counts
            lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
            payload = b"\n".join(lines)
            if not payload:
                return b""
        return self._data(payload)

    def _data(self, payload: bytes) -> bytes:
        if self.done or self.overrun:
            return b""
        if payload == b"[DONE]":
            self.done = True
            return _DONE
        return self._chunk(payload)

    def _chunk(self, payload: bytes) -> bytes:
        try:
            chunk = decode_chunk(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UpstreamFailure(GARBLED, reached=True) from None
        if chunk.has_text:
            self.chunks += 1
            self.overrun = self.chunks > self._most
        if isinstance(chunk.usage, Usage):
            self.usage = chunk.usage
            if not self._show_usage:
                if not chunk.choices:
                    return b""
                chunk.usage = msgspec.UNSET
        chunk.model = self._name
        return b"data: " + encode(chunk) + b"\n\n"
