"""``$batch``: up to 20 requests in one.

Source: Microsoft, "Combine multiple HTTP requests using JSON batching"; Graph hands at most four
of them at a time to Outlook, so a batch uses up what its mailbox is allowed.
"""

import asyncio
import json
from base64 import b64encode
from random import Random
from typing import TYPE_CHECKING, Any

from pipelines.sandbox.graph_answer import Answer, as_json
from pipelines.sandbox.graph_errors import GraphError, bad_request
from pipelines.sandbox.graph_request import GraphRequest

if TYPE_CHECKING:
    from pipelines.sandbox.graph_door import GraphDoor

_MOST = 20
_AT_ONCE = 4


class Batch:
    """One batch, being answered."""

    def __init__(self, door: "GraphDoor", request: GraphRequest, random: Random) -> None:
        self._door, self._request, self._random = door, request, random
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._done: dict[str, asyncio.Task[dict[str, Any]]] = {}

    async def answer(self) -> Answer:
        """The answers, in no order. Raises ``GraphError`` for what is no batch."""
        for part in _parts(self._request.body):
            self._done[part["id"]] = asyncio.create_task(self._one(part))
        responses = list(await asyncio.gather(*self._done.values()))
        self._random.shuffle(responses)
        payload = {"responses": responses}
        return Answer(200, payload, as_json(payload, control_characters=False), "application/json")

    async def _one(self, part: dict[str, Any]) -> dict[str, Any]:
        request = self._inner(part)
        for needed in part.get("dependsOn") or []:
            if (await self._done[needed])["status"] >= 400:
                error = GraphError(424, "FailedDependency", f"Request {needed} failed.")
                return _response(part["id"], self._door.refusal(request, error))
        async with self._turns:
            answer = await self._door.inside_batch(request)
        if answer.cut is not None:
            answer = self._door.refusal(request, GraphError(504, "UnknownError", ""))
        return _response(part["id"], answer)

    def _inner(self, part: dict[str, Any]) -> GraphRequest:
        headers = {name.lower(): str(value) for name, value in (part.get("headers") or {}).items()}
        headers.setdefault("authorization", self._request.headers.get("authorization", ""))
        headers.pop("accept-encoding", None)
        body = json.dumps(part["body"]).encode() if "body" in part else b""
        return GraphRequest.read(part["method"].upper(), self._request.root, part["url"], headers, body)


def _parts(body: bytes) -> list[dict[str, Any]]:
    """The requests of a batch. Raises ``GraphError`` for the whole where one is no request."""
    try:
        parts = json.loads(body)["requests"]
        named = {each["id"]: each for each in parts}
    except (ValueError, KeyError, TypeError):
        raise bad_request("Invalid batch payload format.") from None
    if len(parts) > _MOST:
        raise bad_request(f"Number of batch request steps exceeds the maximum value of {_MOST}.")
    if not parts or len(named) != len(parts):
        raise bad_request("Request id in a batch has to be there and unique.")
    earlier: list[str] = []
    for each in parts:
        if not all(isinstance(each.get(name), str) for name in ("id", "method", "url")):
            raise bad_request("A request needs id, method and url.")
        if not isinstance(each.get("headers") or {}, dict):
            raise bad_request("Headers of a request are an object.")
        if "://" in each["url"] or each["url"].strip("/").lower().startswith("$batch"):
            raise bad_request("A request of a batch has a relative url, and is not a batch.")
        if not all(needed in earlier for needed in each.get("dependsOn") or []):
            raise bad_request("dependsOn names requests that come before.")
        earlier.append(each["id"])
    return list(parts)


def _response(part_id: str, answer: Answer) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": part_id,
        "status": answer.status,
        "headers": {"Cache-Control": "private", **answer.headers, "Content-Type": answer.media_type},
    }
    if answer.payload is not None:
        shown["body"] = answer.payload
    elif answer.content:
        shown["body"] = b64encode(answer.content).decode()
    return shown
