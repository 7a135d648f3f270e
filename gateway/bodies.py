"""Bodies: what a client may ask, and what of an engine's answer reaches it. Both are allow-lists.

What was not declared here is refused on the way in and dropped on the way out; requests are encoded anew
from what was understood, so an engine never sees a second reading of the same bytes.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.errors import Refusal, Refused

__all__ = [
    "Answer",
    "ChatRequest",
    "Chunk",
    "Size",
    "Usage",
    "decode_answer",
    "decode_chunk",
    "encode",
    "measure",
    "read",
    "upstream_body",
]

MESSAGE_TOKENS = 8  # what a chat template wraps around one message, generously
_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ "

_QUOTED = re.compile(r" '.*'", re.DOTALL)  # msgspec quotes an invalid enum value: what a person wrote

Tokens = Annotated[int, Meta(ge=1, le=1_000_000)]


class Part(Struct, forbid_unknown_fields=True):
    """A piece of a message; text is the only kind."""

    type: Literal["text"]
    text: str


class Message(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One turn of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str | Annotated[list[Part], Meta(min_length=1, max_length=64)]
    name: Annotated[str, Meta(max_length=64)] | None = None

    @property
    def text(self) -> str:
        """The content as one string."""
        return (
            self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        )


class StreamOptions(Struct, forbid_unknown_fields=True):
    """Options of a stream."""

    include_usage: bool = False


class ChatRequest(Struct, forbid_unknown_fields=True):
    """The body of POST /v1/chat/completions."""

    model: Literal["instant", "thinking"]
    messages: Annotated[list[Message], Meta(min_length=1, max_length=512)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=1)] = 1
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    user: Annotated[str, Meta(max_length=256)] | None = None


class UpstreamMessage(Struct):
    """A message as engines get it."""

    role: str
    content: str


class UpstreamRequest(Struct, omit_defaults=True):
    """What an engine is asked."""

    model: str
    messages: list[UpstreamMessage]
    max_tokens: int
    stream: bool = False
    stream_options: dict[str, bool] | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None


class Usage(Struct):
    """Tokens that a request used."""

    prompt_tokens: Annotated[int, Meta(ge=0, le=2_000_000_000)] = 0
    completion_tokens: Annotated[int, Meta(ge=0, le=2_000_000_000)] = 0
    total_tokens: int = 0


class Delta(Struct, omit_defaults=True):
    """What a chunk adds."""

    role: str | UnsetType | None = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET


class ChunkChoice(Struct):
    """A chunk's only choice."""

    delta: Delta
    index: int = 0
    finish_reason: str | None = None


class Chunk(Struct, omit_defaults=True):
    """One event of a stream."""

    choices: list[ChunkChoice]
    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    usage: Usage | UnsetType | None = UNSET

    @property
    def has_text(self) -> bool:
        """Whether the engine generated something for this chunk."""
        for choice in self.choices:  # a generator would cost as much again as the rest
            delta = choice.delta
            if delta.content or delta.reasoning_content:
                return True
        return False


class AnswerMessage(Struct, omit_defaults=True):
    """What the model said."""

    role: str
    content: str | None
    reasoning_content: str | UnsetType | None = UNSET


class AnswerChoice(Struct):
    """An answer's only choice."""

    message: AnswerMessage
    index: int = 0
    finish_reason: str | None = None


class Answer(Struct):
    """A whole answer."""

    choices: Annotated[list[AnswerChoice], Meta(min_length=1, max_length=1)]
    id: str = ""
    object: str = "chat.completion"
    created: int = 0
    model: str = ""
    usage: Usage | None = None


class Size(Struct):
    """How large a request is, in tokens: ``prompt`` as estimated, ``worst`` at one token a byte."""

    prompt: int
    worst: int
    completion: int


encode = msgspec.json.Encoder().encode
decode_chunk = msgspec.json.Decoder(Chunk).decode
decode_answer = msgspec.json.Decoder(Answer).decode
_decode_request = msgspec.json.Decoder(ChatRequest).decode


def read(raw: bytes) -> ChatRequest:
    """The request in ``raw``.

    Raises:
        Refused: 400 for whatever is not exactly a chat request.
    """
    try:
        request = _decode_request(raw)
    except msgspec.ValidationError as error:
        raise Refused(Refusal(400, "invalid_body", _QUOTED.sub("", str(error))[:200])) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(Refusal(400, "invalid_json", "the body is not valid JSON in UTF-8")) from None
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise Refused(Refusal(400, "invalid_body", "give max_tokens or max_completion_tokens, not both"))
    if any("\x00" in message.text for message in request.messages):
        raise Refused(Refusal(400, "invalid_body", "a message contains a NUL character"))
    return request


def measure(request: ChatRequest, *, template: int, default: int, limit: int) -> Size:
    """How large ``request`` is; ``default`` caps an answer whose length the client left open.

    Every byte-level tokenizer yields at most one token a byte: that bound is what is reserved. The per-
    request limit goes by the estimate: three letters a token, one token for every other byte.

    Raises:
        Refused: 400 when prompt and answer may exceed ``limit`` tokens.
    """
    text = "".join([message.text for message in request.messages]).encode()
    other = len(text.translate(None, _LETTERS))
    frame = template + MESSAGE_TOKENS * len(request.messages)
    prompt = frame + other + (len(text) - other + 2) // 3
    asked = request.max_tokens or request.max_completion_tokens
    completion = asked if asked is not None else min(default, max(1, limit - prompt))
    if prompt + completion > limit:
        raise Refused(
            Refusal(
                400,
                "request_tokens_exceeded",
                f"about {prompt} prompt tokens and {completion} for the answer exceed the limit of {limit}",
            )
        )
    return Size(prompt, frame + len(text) + completion, completion)


def upstream_body(request: ChatRequest, model: str, max_tokens: int) -> bytes:
    """The body for the engine that serves ``model``; a stream always reports its usage."""
    return encode(
        UpstreamRequest(
            model=model,
            messages=[UpstreamMessage(message.role, message.text) for message in request.messages],
            max_tokens=max_tokens,
            stream=request.stream,
            stream_options={"include_usage": True} if request.stream else None,
            temperature=request.temperature,
            top_p=request.top_p,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            seed=request.seed,
            stop=request.stop,
        )
    )
