"""Who gets in at the Graph door: tokens, roles, granted mailboxes; and the audit of what would write."""

from pipelines.sandbox.entra import GRAPH, Entra, TokenRefusedError
from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_request import GraphRequest
from pipelines.sandbox.graph_settings import GraphSettings
from pipelines.sandbox.store import Mailbox, Store, StoreError

READING = "Mail.Read"
_WRITING = ("POST", "PUT", "PATCH", "DELETE")
_EXPIRED = "Lifetime validation failed, the token is expired."
_REFUSED = {
    "ExpiredSignatureError": _EXPIRED,
    "InvalidAudienceError": "Access token validation failure. Invalid audience.",
    "InvalidSignatureError": "Access token validation failure. Invalid signature.",
}
_CHALLENGE = {
    "WWW-Authenticate": 'Bearer realm="", '
    'authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
    'client_id="00000003-0000-0000-c000-000000000000"'
}


class Gate:
    """Lets requests in, or says why not."""

    def __init__(self, store: Store, entra: Entra, settings: GraphSettings) -> None:
        self._store, self._entra, self._settings = store, entra, settings

    def check_token(self, request: GraphRequest, role: str = READING) -> None:
        """Raise ``GraphError`` unless the token is good for Graph and has the role, where that counts."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise refused_token("Access token is empty.")
        try:
            self._entra.verify(token, GRAPH, role)
        except TokenRefusedError as refused:
            if not str(refused).startswith("lacks"):
                raise refused_token(_REFUSED.get(str(refused), "IDX14100: JWT is not well formed.")) from None
            if self._settings.roles_required or role != READING:
                raise GraphError(403, "ErrorAccessDenied") from None

    def enter(self, request: GraphRequest, user: str, role: str) -> Mailbox:
        """The mailbox, if the token and the administrator let the application in."""
        self.check_token(request, role)
        try:
            mailbox = self._store.mailbox(user)
        except StoreError:
            raise GraphError(404, "ErrorInvalidUser", f"The requested user '{user}' is invalid.") from None
        if not mailbox.granted:
            raise GraphError(403, "ErrorAccessDenied", "Access to OData is disabled.")
        return mailbox

    def refuse_writing(self, request: GraphRequest) -> None:
        """Note what would write before anything is looked at, and refuse it."""
        reading = request.method == "POST" and request.segments[-1] == "translateExchangeIds"
        if request.method not in _WRITING or reading:
            return
        mailbox = request.segments[1] if len(request.segments) > 1 else ""
        self._store.attempted("graph", mailbox, f"{request.method} {request.path}")
        self.check_token(request)
        raise GraphError(403, "ErrorAccessDenied")


def refused_token(text: str = _EXPIRED) -> GraphError:
    """401, with the way to a token."""
    return GraphError(401, "InvalidAuthenticationToken", text, _CHALLENGE)
