"""What it means when no answer came: name, route, proxy, TLS, or a connection that broke."""

import socket
import ssl
from urllib.parse import urlsplit

import httpx

from pipelines.auth import causes
from pipelines.errors import ConnectionLostError, UnreachableError
from pipelines.sources.graph_faults import Fault, Kind


def fault_of_error(error: Exception, root: str, mailbox: str) -> Fault | None:
    """The fault that ``error`` is; None for one that is not of the transport."""
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return Fault(Kind.WRONG_REQUEST, UnreachableError(f"{mailbox}: Graph gave a link that is no URL"))
    if not isinstance(error, httpx.HTTPError):
        return None
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        what, remedy, again = _explain(error, urlsplit(root).hostname or "")
        unreachable = UnreachableError(f"{root} cannot be reached: {what}", remedy=remedy)
        return Fault(Kind.UNREACHABLE if again else Kind.WRONG_REQUEST, unreachable)
    how = "no answer in time" if isinstance(error, httpx.TimeoutException) else "the connection broke"
    return Fault(Kind.CONNECTION_LOST, ConnectionLostError(f"{mailbox}: {how}"))


def _explain(error: httpx.HTTPError, host: str) -> tuple[str, str, bool]:
    """What happened, what to do, and whether another try may end differently."""
    route = f"allow outgoing HTTPS connections to {host}"
    if isinstance(error, httpx.ProxyError):
        return "the proxy does not let it through", "check HTTPS_PROXY and NO_PROXY", True
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            remedy = "if a private CA signed it, name the CA's PEM file in tenant.endpoints.ca_file"
            return f"its TLS certificate is not trusted ({cause.verify_message})", remedy, False
        if isinstance(cause, ssl.SSLError):
            remedy = "check that the port speaks TLS 1.2 or later, and nothing intercepts it"
            return "TLS failed", remedy, False
        if isinstance(cause, socket.gaierror):
            remedy = "check tenant.endpoints.graph, tenant.cloud and this computer's DNS"
            return f"the name {host} is not known", remedy, True
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused", route, True
    if isinstance(error, httpx.ConnectTimeout):
        return "no answer in time", route, True
    return "the connection broke", route, True
