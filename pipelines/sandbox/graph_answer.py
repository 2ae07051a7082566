"""Answers of the Graph door, and how they get onto the wire."""

import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.sandbox.graph_limits import Slot

JSON_TYPE = (
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
)
_CHUNK = 1 << 16
_ESCAPED = re.compile(r"(\\\\)|\\u00([01][0-9a-f])")
_RESET = struct.pack("ii", 1, 0)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class Answer:
    """One answer, whether it goes out alone or in a batch."""

    status: int = 200
    payload: dict[str, Any] | None = None
    """What ``content`` is the JSON of."""
    content: bytes = b""
    media_type: str = JSON_TYPE
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """The connection breaks after so many bytes."""


def as_json(payload: dict[str, Any], *, control_characters: bool) -> bytes:
    """JSON as Graph writes it; control characters other than line ends and tabs may stand as they are."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    if control_characters and "\\u00" in text:
        text = _ESCAPED.sub(lambda match: match[1] or chr(int(match[2], 16)), text)
    return text.encode("utf-8", "replace")


async def send_answer(scope: Scope, receive: Receive, send: Send, answer: Answer, slot: Slot) -> None:
    """Send in chunks, as fast as the client reads; its place is free before it knows that this is all."""
    content = answer.content if answer.cut is None else answer.content[: answer.cut]
    if answer.cut == 0:
        await _break(scope, receive)
        return
    headers = {**answer.headers, "Cache-Control": "private"}
    if content:
        headers["Content-Type"] = answer.media_type
    told = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": told})
    last = max(0, len(content) - 1) // _CHUNK * _CHUNK
    for begin in range(0, last, _CHUNK):
        await send({"type": "http.response.body", "body": content[begin : begin + _CHUNK], "more_body": True})
    slot.release()
    broken = answer.cut is not None
    await send({"type": "http.response.body", "body": content[last:], "more_body": broken})
    if broken:
        await _break(scope, receive)


async def _break(scope: Scope, receive: Receive) -> None:
    """Reset the connection, without a word."""
    transport = scope["state"]["transport"]
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass
