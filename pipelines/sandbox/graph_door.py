"""The Graph door: the mail part of Microsoft Graph v1.0 over the mail store.

It behaves as Exchange Online does behind Graph, which is not always as its pages say; each module
named ``graph_…`` gives its sources. Faults at this door name commands by endpoint, see
``graph_routes``; what becomes of each kind is in docs/sandbox.md.
"""

import gzip
from collections.abc import Iterable
from random import Random
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.routing import Mount

from pipelines.sandbox.entra import Entra
from pipelines.sandbox.faults import Door, FaultKind, Faults
from pipelines.sandbox.graph_answer import Answer, Receive, Scope, Send, as_json, send_answer
from pipelines.sandbox.graph_batch import Batch
from pipelines.sandbox.graph_call import GraphCall
from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_faults import misbehave
from pipelines.sandbox.graph_gate import READING, Gate
from pipelines.sandbox.graph_limits import Limiter, Slot
from pipelines.sandbox.graph_mailbox import GraphMailbox
from pipelines.sandbox.graph_request import VERSION, GraphRequest
from pipelines.sandbox.graph_routes import GraphRoute, find_route
from pipelines.sandbox.graph_settings import GraphSettings
from pipelines.sandbox.graph_states import DeltaStates
from pipelines.sandbox.store import Store, StoreError

_ROLES = {"translateExchangeIds": "User.Read.All"}
_INNER = ("innerError", "innererror")


class GraphDoor:
    """An ASGI application."""

    def __init__(self, store: Store, entra: Entra, faults: Faults, seed: int = 0) -> None:
        self._store, self._faults = store, faults
        self.settings = GraphSettings()
        self._gate = Gate(store, entra, self.settings)
        self._limiter = Limiter(self.settings)
        self._states = DeltaStates()
        self._random = Random(seed)

    def routes(self) -> list[Mount]:
        """Everything below ``/v1.0``."""
        return [Mount(VERSION, app=self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request = await _read(scope, receive)
        is_batch = request.segments == ("$batch",) and request.method == "POST"
        with Slot(self._limiter) as slot:
            answer = await (self._batch(request) if is_batch else self._one(request, slot))
            await send_answer(scope, receive, send, answer, slot)

    async def inside_batch(self, request: GraphRequest) -> Answer:
        """The answer to a request of a batch."""
        with Slot(self._limiter) as slot:
            return await self._one(request, slot)

    async def _one(self, request: GraphRequest, slot: Slot) -> Answer:
        """The answer to a request, which takes its place among those in flight."""
        try:
            self._gate.refuse_writing(request)
            request.check()
            route, keys = find_route(request.method, request.segments, self.settings.cloud)
            user = keys.pop("user")
            fault = self._faults.match(Door.GRAPH, route.command, user, self._uid(user, keys.get("message")))
            mailbox = self._gate.enter(request, user, _ROLES.get(route.command, READING))
            slot.take(mailbox.address)
            if fault:
                await misbehave(fault)
            opened = GraphMailbox(self._store, mailbox)
            call = GraphCall(request, opened, user, self.settings, self._states, self._random, fault)
            answer = await run_in_threadpool(self._work, route, call, keys.values())
        except GraphError as error:
            return self.refusal(request, error)
        if fault and fault.kind is FaultKind.DROP:
            answer.cut = fault.bytes
        return answer

    async def _batch(self, request: GraphRequest) -> Answer:
        fault = self._faults.match(Door.GRAPH, "$batch")
        try:
            self._gate.check_token(request)
            if fault:
                await misbehave(fault)
            answer = await Batch(self, request, self._random).answer()
        except GraphError as error:
            return self.refusal(request, error)
        if fault and fault.kind is FaultKind.DROP:
            answer.cut = fault.bytes
        return answer

    def refusal(self, request: GraphRequest, error: GraphError) -> Answer:
        """An error as an answer."""
        identified = _ids(request)
        answer = Answer(error.status, media_type="application/json", headers={**identified, **error.headers})
        if error.code:
            inner = self._random.choice(_INNER)
            answer.payload = error.payload(identified["request-id"], identified["client-request-id"], inner)
            answer.content = as_json(answer.payload, control_characters=False)
        return answer

    def _uid(self, user: str, message_id: str | None) -> int | None:
        if message_id is None:
            return None
        try:
            return self._store.find(user, message_id)[1].uid
        except StoreError:
            return None

    def _work(self, route: GraphRoute, call: GraphCall, keys: Iterable[str]) -> Answer:
        """Everything that takes time, away from the event loop."""
        result = route.handler(call, *keys)
        request = call.request
        headers = {**_ids(request), "OData-Version": "4.0", **request.preferences.applied()}
        if isinstance(result, dict):
            content = as_json(result, control_characters=self.settings.control_characters)
            answer = Answer(200, result, content, headers=headers)
        else:
            content = result if isinstance(result, bytes) else str(result).encode()
            if call.fault and call.fault.kind is FaultKind.EMPTY:
                content = b""
            answer = Answer(200, None, content, "text/plain", headers)
        if call.fault and call.fault.kind is FaultKind.TRUNCATE:
            answer.content = answer.content[: call.fault.bytes]
        if self.settings.gzip and "gzip" in request.headers.get("accept-encoding", ""):
            answer.content = gzip.compress(answer.content, 1)
            answer.headers["Content-Encoding"] = "gzip"
        return answer


def _ids(request: GraphRequest) -> dict[str, str]:
    own = str(uuid4())
    return {"request-id": own, "client-request-id": request.headers.get("client-request-id", own)}


async def _read(scope: Scope, receive: Receive) -> GraphRequest:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    path = scope["raw_path"].decode("latin-1").removeprefix(VERSION)
    query = scope["query_string"].decode("latin-1")
    root = f"https://{headers.get('host', 'localhost')}{VERSION}"
    return GraphRequest.read(scope["method"], root, f"{path}?{query}", headers, body)
