"""The Graph door: the mail part of Microsoft Graph v1.0 over the mail store.

It behaves as Exchange Online does behind Graph, which is not always as its pages say; each module
named ``graph_…`` gives its sources. Faults at this door name commands by endpoint, see
``graph_routes``; what becomes of each kind is in docs/sandbox.md.
"""

import asyncio
import gzip
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.routing import Mount

from pipelines.sandbox.entra import GRAPH, Entra, TokenRefusedError
from pipelines.sandbox.faults import Door, Fault, FaultKind, Faults, RetryAfter
from pipelines.sandbox.graph_answer import Answer, Receive, Scope, Send, as_json, send_answer
from pipelines.sandbox.graph_batch import Batch
from pipelines.sandbox.graph_call import GraphCall
from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_limits import Limiter, Slot
from pipelines.sandbox.graph_mailbox import GraphMailbox
from pipelines.sandbox.graph_request import VERSION, GraphRequest
from pipelines.sandbox.graph_routes import GraphRoute, find_route
from pipelines.sandbox.graph_settings import GraphSettings
from pipelines.sandbox.graph_states import DeltaStates
from pipelines.sandbox.store import Mailbox, Store, StoreError

_ROLES = {"translateExchangeIds": "User.Read.All"}
_INNER = ("innerError", "innererror")
_WRITING = ("POST", "PUT", "PATCH", "DELETE")
_REFUSED_TOKENS = {
    "ExpiredSignatureError": "Lifetime validation failed, the token is expired.",
    "InvalidAudienceError": "Access token validation failure. Invalid audience.",
    "InvalidSignatureError": "Access token validation failure. Invalid signature.",
}
_CHALLENGE = {
    "WWW-Authenticate": 'Bearer realm="", '
    'authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
    'client_id="00000003-0000-0000-c000-000000000000"'
}


class GraphDoor:
    """An ASGI application."""

    def __init__(self, store: Store, entra: Entra, faults: Faults, seed: int = 0) -> None:
        self._store, self._entra, self._faults = store, entra, faults
        self.settings = GraphSettings()
        self._limiter = Limiter(self.settings)
        self._states = DeltaStates()
        self._random = Random(seed)

    def routes(self) -> list[Mount]:
        """Everything below ``/v1.0``."""
        return [Mount(VERSION, app=self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request = await _read(scope, receive)
        slot: Slot | None = None
        try:
            if request.segments == ("$batch",) and request.method == "POST":
                answer = await self._batch(request)
            else:
                answer, slot = await self.answer(request)
            await send_answer(scope, receive, send, answer, slot)
        finally:
            if slot is not None:
                slot.release()

    async def answer(self, request: GraphRequest) -> tuple[Answer, Slot | None]:
        """The answer to a request, and its place among those in flight until it is sent."""
        slot: Slot | None = None
        try:
            self._note(request)
            request.check()
            route, keys = find_route(request.method, request.segments, self.settings.cloud)
            user = keys.pop("user")
            fault = self._faults.match(Door.GRAPH, route.command, user, self._uid(user, keys.get("message")))
            mailbox = self._enter(request, route, user)
            slot = self._limiter.admit(mailbox.address)
            if fault:
                await _commit(fault)
            call = GraphCall(
                request,
                GraphMailbox(self._store, mailbox),
                user,
                self.settings,
                self._states,
                self._random,
                fault,
            )
            answer = await run_in_threadpool(self._work, route, call, keys)
        except GraphError as error:
            if slot is not None:
                slot.release()
            return self.refusal(request, error), None
        if fault and fault.kind is FaultKind.DROP:
            answer.cut = fault.bytes
        return answer, slot

    async def _batch(self, request: GraphRequest) -> Answer:
        fault = self._faults.match(Door.GRAPH, "$batch")
        try:
            self.check_token(request)
            if fault:
                await _commit(fault)
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

    def check_token(self, request: GraphRequest, role: str = "Mail.Read") -> None:
        """Raise ``GraphError`` unless the request's token is good for Graph and has ``role``."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise GraphError(401, "InvalidAuthenticationToken", "Access token is empty.", _CHALLENGE)
        try:
            self._entra.verify(token, GRAPH, role)
        except TokenRefusedError as refused:
            if str(refused).startswith("lacks"):
                if self.settings.roles_required or role != "Mail.Read":
                    raise GraphError(403, "ErrorAccessDenied") from None
                return
            text = _REFUSED_TOKENS.get(str(refused), "IDX14100: JWT is not well formed.")
            raise GraphError(401, "InvalidAuthenticationToken", text, _CHALLENGE) from None

    def _note(self, request: GraphRequest) -> None:
        """Note what would write, and refuse it."""
        reading = request.method == "POST" and request.segments[-1:] == ("translateExchangeIds",)
        if request.method not in _WRITING or reading:
            return
        mailbox = request.segments[1] if len(request.segments) > 1 else ""
        self._store.attempted("graph", mailbox, f"{request.method} {request.path}")
        self.check_token(request)
        raise GraphError(403, "ErrorAccessDenied")

    def _enter(self, request: GraphRequest, route: GraphRoute, user: str) -> Mailbox:
        """The mailbox, if the token and the administrator let the application in."""
        self.check_token(request, _ROLES.get(route.command, "Mail.Read"))
        try:
            mailbox = self._store.mailbox(user)
        except StoreError:
            raise GraphError(404, "ErrorInvalidUser", f"The requested user '{user}' is invalid.") from None
        if not mailbox.granted:
            raise GraphError(403, "ErrorAccessDenied", "Access to OData is disabled.")
        return mailbox

    def _uid(self, user: str, message_id: str | None) -> int | None:
        if message_id is None:
            return None
        try:
            return self._store.find(user, message_id)[1].uid
        except StoreError:
            return None

    def _work(self, route: GraphRoute, call: GraphCall, keys: Mapping[str, str]) -> Answer:
        """Everything that takes time, away from the event loop."""
        result = route.handler(call, *keys.values())
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


async def _commit(fault: Fault) -> None:
    """Wait, or raise the refusals among the faults; what is left concerns the answer."""
    match fault.kind:
        case FaultKind.DELAY:
            await asyncio.sleep(fault.seconds)
        case FaultKind.EXPIRE:
            text = _REFUSED_TOKENS["ExpiredSignatureError"]
            raise GraphError(401, "InvalidAuthenticationToken", text, _CHALLENGE)
        case FaultKind.THROTTLE:
            raise GraphError(429, "ApplicationThrottled", headers=_wait(fault, RetryAfter.SECONDS))
        case FaultKind.REFUSE:
            raise GraphError(403, "ErrorAccessDenied")
        case FaultKind.UNAVAILABLE:
            raise GraphError(503, "")
        case FaultKind.PLACEHOLDER:
            raise GraphError(500, "ErrorMimeContentConversionFailed")
        case FaultKind.ERROR:
            raise GraphError(fault.status, fault.code, headers=_wait(fault, RetryAfter.NONE))


def _wait(fault: Fault, otherwise: RetryAfter) -> dict[str, str]:
    """How long to wait, in the way that the fault says."""
    match fault.retry_after or otherwise:
        case RetryAfter.SECONDS:
            return {"Retry-After": f"{fault.seconds:g}"}
        case RetryAfter.DATE:
            moment = datetime.now(UTC) + timedelta(seconds=fault.seconds)
            return {"Retry-After": format_datetime(moment, usegmt=True)}
    return {}


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
