"""Whether each server is there and who it is, and how far this computer's clock is from theirs."""

import contextlib
import socket
import ssl
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.util import make_headers

from pipelines.auth import ResolvedEndpoints
from pipelines.clock import Clock
from pipelines.doctor.findings import Area, Check, Finding

TLS = Check(Area.CONNECTIONS, "tls")
CLOCK = Check(Area.CONNECTIONS, "clock")
DISCOVERY = "/v2.0/.well-known/openid-configuration"
"""Below the authority: what the token service says of itself, to anyone."""
_SECONDS = 20.0
_RENEW_WITHIN = 7
"""Days before its end in which a server's certificate is worth a word."""
_SKEW_SEEN, _SKEW_REFUSED = timedelta(minutes=1), timedelta(minutes=5)
"""Entra and Mailover refuse tokens of a clock that is further off than five minutes."""
_NOT_YET_VALID, _EXPIRED, _WRONG_NAME = {9}, {10}, {62, 64}
"""OpenSSL's X509_V_ERR_ numbers."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that Mailover talks to."""

    name: str
    """The key under ``tenant.endpoints``."""
    scheme: str
    host: str
    port: int
    path: str = "/"
    """What is asked for, over HTTPS; whatever is answered carries a ``Date``."""

    @property
    def url(self) -> str:
        """Without the path."""
        usual = self.scheme == "https" and self.port == 443
        return f"{self.scheme}://{self.host}" + ("" if usual else f":{self.port}")

    def __str__(self) -> str:
        return f"{self.name} ({self.url})"


@dataclass(frozen=True, slots=True)
class _Seen:
    version: str
    expires_at: datetime
    date: datetime | None


def endpoints_in_use(servers: ResolvedEndpoints, legacy: Collection[str]) -> list[Endpoint]:
    """Token service and Graph, and the mail servers of the ``legacy`` protocols in use."""
    https = [("authority", urlsplit(servers.authority + DISCOVERY)), ("graph", urlsplit(servers.graph))]
    found = [Endpoint(name, "https", url.hostname or "", url.port or 443, url.path) for name, url in https]
    if "imap" in legacy:
        found.append(Endpoint("imap", "imaps", *servers.imap))
    if "pop3" in legacy:
        found.append(Endpoint("pop3", "pop3s", *servers.pop3))
    return found


def check_connection(endpoint: Endpoint, ca_file: Path | None, clock: Clock) -> Iterator[Finding]:
    """TLS to the server: name, trust, version, days left; its clock, where it tells the time."""
    proxy, trusted = _environment(endpoint, ca_file)
    if proxy and proxy.scheme != "http":
        yield TLS.skipped(str(endpoint), f"it is behind a proxy that speaks {proxy.scheme}")
        return
    try:
        seen = _look(endpoint, trusted, proxy)
    except OSError as error:
        yield TLS.failure(str(endpoint), *_explain(error, endpoint, trusted, proxy))
        return
    except HTTPException:
        what = "what answers there does not speak HTTP"
        yield TLS.failure(str(endpoint), what, f"check tenant.endpoints.{endpoint.name}")
        return
    left = (seen.expires_at - clock.now()).days
    told = f"{seen.version}, its certificate is valid for {left} more days"
    if left < _RENEW_WITHIN:
        yield TLS.warning(str(endpoint), told, "have the server's certificate renewed")
    else:
        yield TLS.ok(str(endpoint), told)
    if seen.date:
        yield _clock(endpoint, seen.date - clock.now())


def _clock(endpoint: Endpoint, ahead: timedelta) -> Finding:
    direction = "behind" if ahead > timedelta() else "ahead of"
    off = abs(ahead)
    if off <= _SKEW_SEEN:
        return CLOCK.ok(str(endpoint), "this computer's clock agrees with the server's within a minute")
    what = f"this computer's clock is {off.total_seconds() / 60:.0f} minutes {direction} the server's"
    remedy = "set it, and let NTP keep it (timedatectl set-ntp true)"
    if off <= _SKEW_REFUSED:
        return CLOCK.warning(str(endpoint), what, f"{remedy}; more than five minutes end every sign-in")
    return CLOCK.failure(str(endpoint), f"{what}; sign-in needs it right within five", remedy)


def _environment(endpoint: Endpoint, ca_file: Path | None) -> tuple[SplitResult | None, Path | None]:
    """The proxy for the endpoint, and the file or folder of trusted certificates; None for the system's.

    HTTPS is spoken by ``requests`` and ``httpx``, which bring certificates of their own.
    """
    if endpoint.scheme != "https":
        return None, ca_file
    with requests.Session() as session:
        given = session.merge_environment_settings(endpoint.url, {}, None, None, None)
    proxy = select_proxy(endpoint.url, given["proxies"])
    bundle = given["verify"] if isinstance(given["verify"], str) else DEFAULT_CA_BUNDLE_PATH
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return urlsplit(proxy) if proxy else None, ca_file or Path(bundle)


def _context(trusted: Path | None) -> ssl.SSLContext:
    if trusted and trusted.is_dir():
        return ssl.create_default_context(capath=trusted)
    return ssl.create_default_context(cafile=trusted)


def _look(endpoint: Endpoint, trusted: Path | None, proxy: SplitResult | None) -> _Seen:
    context = _context(trusted)
    if endpoint.scheme == "https":
        return _look_https(endpoint, context, proxy)
    with (
        socket.create_connection((endpoint.host, endpoint.port), _SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=endpoint.host) as tls,
    ):
        return _Seen(*_handshake(tls), None)


def _look_https(endpoint: Endpoint, context: ssl.SSLContext, proxy: SplitResult | None) -> _Seen:
    via = proxy or urlsplit(endpoint.url)
    connection = HTTPSConnection(
        via.hostname or "", via.port or endpoint.port, timeout=_SECONDS, context=context
    )
    if proxy:
        user = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}" if proxy.username else None
        connection.set_tunnel(endpoint.host, endpoint.port, make_headers(proxy_basic_auth=user))
    try:
        connection.connect()
        version, expires_at = _handshake(connection.sock)
        connection.request("GET", endpoint.path)
        date = connection.getresponse().getheader("Date")
    finally:
        connection.close()
    return _Seen(version, expires_at, _instant(date))


def _handshake(tls: ssl.SSLSocket) -> tuple[str, datetime]:
    certificate: Any = tls.getpeercert()
    return tls.version() or "TLS", _end(certificate)


def _end(certificate: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)


def _instant(date: str | None) -> datetime | None:
    try:
        told = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def _explain(
    error: OSError, endpoint: Endpoint, trusted: Path | None, proxy: SplitResult | None
) -> tuple[str, str]:
    """What happened and what to do; not in the exception's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        shown = {} if proxy else _shown_certificate(endpoint, trusted)
        return _explain_certificate(error, endpoint, shown)
    setting = f"tenant.endpoints.{endpoint.name}"
    if isinstance(error, ssl.SSLError):
        return (
            "TLS failed",
            f"check {setting}: the port must speak TLS 1.2 or later from the first byte (not STARTTLS)",
        )
    if proxy:
        return f"the proxy {proxy.hostname} does not let it through", "check HTTPS_PROXY and NO_PROXY"
    if isinstance(error, FileNotFoundError):
        remedy = "check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE"
        return "the file of trusted certificates cannot be read", remedy
    if isinstance(error, socket.gaierror):
        return (
            f"the name {endpoint.host} is not known",
            f"check {setting}, tenant.cloud and this computer's DNS",
        )
    way = f"allow outgoing connections to {endpoint.host} on port {endpoint.port}, or correct {setting}"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused", way
    if isinstance(error, TimeoutError):
        return f"no answer within {_SECONDS:.0f} s", way
    return "the connection broke", way


def _explain_certificate(
    error: ssl.SSLCertVerificationError, endpoint: Endpoint, shown: dict[str, Any]
) -> tuple[str, str]:
    setting = f"tenant.endpoints.{endpoint.name}"
    clock = "set this computer's clock if it is wrong; else have the server's certificate renewed"
    if error.verify_code in _WRONG_NAME:
        names = ", ".join(name for _kind, name in shown.get("subjectAltName", ())) or "another name"
        return f"its certificate is for {names}, not for {endpoint.host}", f"correct the host in {setting}"
    if error.verify_code in _EXPIRED:
        return "its certificate has expired", clock
    if error.verify_code in _NOT_YET_VALID:
        return "its certificate is not valid yet", clock
    issuer = dict(pair for level in shown.get("issuer", ()) for pair in level).get("commonName")
    by = f", issued by “{issuer}”," if issuer else ""
    remedy = (
        "if that is the CA of your own network or sandbox, name its PEM file in tenant.endpoints.ca_file; "
        "if not, something between here and the server opens the connection"
    )
    return f"its certificate{by} is not trusted ({error.verify_message})", remedy


def _shown_certificate(endpoint: Endpoint, trusted: Path | None) -> dict[str, Any]:
    """The certificate that the server shows, from one more handshake that verifies it and so fails."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((endpoint.host, endpoint.port), _SECONDS) as plain,
        _context(trusted).wrap_socket(
            plain, server_hostname=endpoint.host, do_handshake_on_connect=False
        ) as tls,
    ):
        with contextlib.suppress(ssl.SSLCertVerificationError):
            tls.do_handshake()
        held: Any = tls._sslobj  # type: ignore[attr-defined]  # noqa: SLF001 - public from 3.13 on
        chain = held.get_unverified_chain()
        return dict(chain[0].get_info()) if chain else {}
    return {}
