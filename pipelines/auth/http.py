"""The HTTP client handed to MSAL: verified TLS, time limits, bounded retries, readable errors.

MSAL's own raises on a 5xx answer and repeats that answer from a cache, lets CA bundles of
the environment win over the one it was given, and logs bodies that are not JSON, whatever
is in them. So every answer that is not an OAuth one ends here.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NameResolutionError

from pipelines.auth.refusals import refusal
from pipelines.auth.transport import causes
from pipelines.clock import Clock
from pipelines.errors import MailoverError, ThrottledError, TransientError, UnreachableError

_CONNECT_SECONDS, _READ_SECONDS = 10.0, 30.0
_PAUSES = (1.0, 2.0, 4.0)
"""Seconds before the second, third and fourth try."""
_LONGEST_PAUSE = 60.0
"""A server that asks for more is not waited for here; the caller is told."""


@dataclass(frozen=True, slots=True)
class _Failure:
    error: MailoverError
    again: bool
    """Whether another try may end differently."""
    wait: float = 0.0
    """Seconds that the server asked for."""


class TokenHttpClient:
    """``get``, ``post`` and ``close`` as MSAL calls them."""

    def __init__(self, ca_file: Path | None, clock: Clock) -> None:
        self._session = requests.Session()
        # Proxies are taken from the environment; a password for this host in ~/.netrc is not.
        self._session.auth = _leave_alone
        self._verify: str | bool = str(ca_file) if ca_file else True
        self._clock = clock

    def get(self, url: str, **kwargs: Any) -> requests.Response:
        """A JSON answer. Raises ``SignInError`` for a refusal, and as ``post`` does."""
        response = self._send("GET", url, **kwargs)
        if response.status_code >= 400:
            # MSAL would put it, unread, into a ValueError.
            raise refusal(response.json(), _origin(url))
        return response

    def post(self, url: str, **kwargs: Any) -> requests.Response:
        """A JSON answer, granted or refused.

        Raises ``UnreachableError`` where there is no connection or no token service behind it,
        ``TransientError`` (``ThrottledError`` with a wait) where four tries did not help.
        """
        return self._send("POST", url, **kwargs)

    def close(self) -> None:
        """Give back the connections."""
        self._session.close()

    def _send(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        pauses = iter(_PAUSES)
        while True:
            outcome = self._try(method, url, **kwargs)
            if isinstance(outcome, requests.Response):
                return outcome
            pause = next(pauses, None)
            if not outcome.again or pause is None or outcome.wait > _LONGEST_PAUSE:
                raise outcome.error
            self._clock.sleep(max(pause, outcome.wait))

    def _try(self, method: str, url: str, **kwargs: Any) -> "requests.Response | _Failure":
        try:
            # Given per request, verify wins over REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.
            response = self._session.request(
                method,
                url,
                verify=self._verify,
                timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                allow_redirects=False,
                **kwargs,
            )
        except OSError as error:  # every error of requests is one
            return _unreachable(error, url)
        return self._unusable(response, _origin(url)) or response

    def _unusable(self, response: requests.Response, origin: str) -> _Failure | None:
        status, wait = response.status_code, self._retry_after(response)
        if status == requests.codes.too_many_requests or (status >= 500 and wait):
            throttled = f"{origin} asks to wait {wait:.0f} s before the next request (HTTP {status})"
            return _Failure(ThrottledError(throttled, retry_after=wait), again=True, wait=wait)
        if status >= 500:
            remedy = "try again later; https://status.cloud.microsoft shows Microsoft's outages"
            return _Failure(TransientError(f"{origin} answered HTTP {status}", remedy=remedy), again=True)
        if not _is_json_object(response):
            return _Failure(
                UnreachableError(
                    f"{origin} answered HTTP {status} with something that is not an OAuth answer",
                    remedy="check tenant.endpoints.authority, and whether a proxy or login page intervenes",
                ),
                again=False,
            )
        return None

    def _retry_after(self, response: requests.Response) -> float:
        """Seconds (RFC 9110, 10.2.3); 0 where none are named."""
        value = response.headers.get("Retry-After", "").strip()
        if value.isdecimal():
            return float(value)
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - self._clock.now()).total_seconds())


def _leave_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _is_json_object(response: requests.Response) -> bool:
    try:
        return isinstance(response.json(), dict)
    except ValueError:
        return False


def _unreachable(error: OSError, url: str) -> _Failure:
    what, remedy, again = _explain(error, urlsplit(url).hostname or "")
    return _Failure(UnreachableError(f"{_origin(url)} cannot be reached: {what}", remedy=remedy), again=again)


def _explain(error: OSError, host: str) -> tuple[str, str, bool]:
    """What happened, what to do, whether to try again; not in the exception's words, which quote requests."""
    open_way = f"allow outgoing HTTPS to {host}, or name a proxy in HTTPS_PROXY"
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            what = f"its TLS certificate is not trusted ({cause.verify_message})"
            return (
                what,
                "if a private CA signed it, name the CA's PEM file in tenant.endpoints.ca_file",
                False,
            )
        if isinstance(cause, NameResolutionError):
            return (
                f"the name {host} is not known",
                "check the name, tenant.cloud and this computer's DNS",
                True,
            )
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused", open_way, True
    if not isinstance(error, requests.RequestException):
        remedy = "check tenant.endpoints.ca_file, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE"
        return "the file of trusted certificates cannot be read", remedy, False
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not let it through", "check HTTPS_PROXY and NO_PROXY", True
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS failed", "check that the port speaks TLS 1.2 or later, and nothing intercepts it", False
    if isinstance(error, requests.Timeout):
        return (
            f"no answer within {_CONNECT_SECONDS:.0f} s to connect, {_READ_SECONDS:.0f} s to read",
            open_way,
            True,
        )
    return "the connection broke", open_way, True
