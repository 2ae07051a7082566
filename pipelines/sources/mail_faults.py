"""What a mail server's words mean for the session, and what a person is told; IMAP and POP3 alike.

Sources: RFC 3501 (BYE, NO, BAD), RFC 5530, RFC 2449 and RFC 3206 (response codes), Microsoft's
"Authenticate an IMAP, POP or SMTP connection using OAuth", and what Exchange Online was seen
to answer.
"""

import re
import socket
import ssl
from dataclasses import dataclass

from pipelines.auth import Server
from pipelines.errors import (
    ConnectionLostError,
    MailboxRefusedError,
    MailoverError,
    ThrottledError,
    TransientError,
    UnreachableError,
)

LONGEST_WAIT = 900.0
"""Seconds; a server that asks for more is not waited for, the caller is told."""
_WAIT_UNNAMED = 60.0
_LONGEST_QUOTE = 160

_BACKOFF = re.compile(r"backoff time:?\s*(\d+)\s*milliseconds", re.IGNORECASE)
_UNAVAILABLE = re.compile(
    r"server (is )?(unavailable|busy)|\[(unavailable|inuse|limit|contactadmin|sys/temp|login-delay)\]"
    r"|too many (simultaneous )?connections|maximum number of connections",
    re.IGNORECASE,
)
_FORGOTTEN = re.compile(r"command (received in|is not valid in this) (invalid )?state", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MailProtocol:
    """What a person is told differently of the two."""

    name: str
    scheme: str
    role: str
    """The application role in the token."""
    switch: str
    """The parameter of Set-CASMailbox that allows it for a mailbox."""

    @property
    def setting(self) -> str:
        """Where the configuration names its server."""
        return f"tenant.endpoints.{self.name.lower()}"


IMAP = MailProtocol("IMAP", "imaps", "IMAP.AccessAsApp", "-ImapEnabled")
POP3 = MailProtocol("POP3", "pop3s", "POP.AccessAsApp", "-PopEnabled")


class CommandRefusedError(MailoverError):
    """A NO, BAD or -ERR that concerns one command; ``text`` is the server's."""

    def __init__(self, text: str) -> None:
        super().__init__(f"the server refuses: {quote(text)}")
        self.text = text


@dataclass(frozen=True, slots=True)
class Fault:
    """Something went wrong: what to report, and the seconds to wait before each further try."""

    error: MailoverError
    pauses: tuple[float, ...] = ()
    keeps_session: bool = False
    new_token: bool = False


def session_fault(text: str, mailbox: str, protocol: MailProtocol) -> Fault | None:
    """The fault that a server's ``text`` stands for; None where it concerns the one command only."""
    lower = text.lower()
    if "throttled" in lower or _BACKOFF.search(text):
        return _throttled(text, mailbox)
    if "authenticated but not connected" in lower:
        return Fault(not_connected(mailbox, protocol), (5.0, 20.0))
    if "accesstokenexpired" in lower or "session invalidated" in lower:
        lost = ConnectionLostError(f"{mailbox}: the session ended with its token")
        return Fault(lost, (0.0, 1.0, 5.0), new_token=True)
    if _UNAVAILABLE.search(text):
        remedy = "try again later; https://status.cloud.microsoft shows Microsoft's outages"
        return Fault(
            TransientError(f"{mailbox}: the server says {quote(text)}", remedy=remedy), (5.0, 20.0, 60.0)
        )
    if _FORGOTTEN.search(text):
        return lost_connection(mailbox, "the server forgot the session")
    return None


def lost_connection(mailbox: str, how: str) -> Fault:
    """The session ended; another one may go on where it stood."""
    return Fault(ConnectionLostError(f"{mailbox}: {how}"), (0.0, 2.0, 10.0, 30.0))


def broken(error: Exception, protocol: MailProtocol) -> str:
    """How a connection ended that ended without the server's words. Not in the error's own words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) or "socket error" in str(error):
        return "the connection broke"
    return f"the server's answer is not {protocol.name}"


def not_connected(mailbox: str, protocol: MailProtocol) -> MailboxRefusedError:
    """Exchange's "User is authenticated but not connected", once it has lasted."""
    return MailboxRefusedError(
        f"{mailbox}: the token is accepted ({protocol.role}) but the mailbox is not open to the application",
        remedy="give its service principal FullAccess with Add-MailboxPermission, and check that the mailbox "
        "exists and is licensed; `mailover setup` prints the commands. After many sign-ins in a short time "
        "Exchange answers so for some minutes as well",
        token_accepted=True,
    )


def sign_in_refused(mailbox: str, text: str, protocol: MailProtocol) -> MailboxRefusedError:
    """A sign-in refused; Exchange gives no reason, so all that is left after the claims were checked."""
    return MailboxRefusedError(
        f"{mailbox}: {protocol.name} sign-in refused ({quote(text)}), though the token's claims are in order",
        remedy="check that the service principal was made with the object id of the Enterprise application "
        f"and has FullAccess to the mailbox, that {protocol.name} is enabled for it "
        f"(Set-CASMailbox {protocol.switch} $true), and that the application holds {protocol.role}; "
        "`mailover setup` prints the commands",
        token_accepted=False,
    )


def no_xoauth2(server: Server, protocol: MailProtocol, also: str = "") -> UnreachableError:
    """The server does not offer the only way in that Mailover uses."""
    return UnreachableError(
        f"{_place(server, protocol)} offers no sign-in with a token (AUTH=XOAUTH2){also}",
        remedy=f"check {protocol.setting}: Exchange Online, or a proxy that passes XOAUTH2 on",
    )


def unreachable(error: Exception, server: Server, protocol: MailProtocol) -> Fault:
    """No connection: the name, the route, the port or TLS. Not in the error's own words."""
    what, remedy, again = _explain(error, server, protocol)
    failure = UnreachableError(f"{_place(server, protocol)} cannot be reached: {what}", remedy=remedy)
    return Fault(failure, (1.0, 4.0) if again else ())


def quote(text: str) -> str:
    """A server's words for a person: one short printable line without anything like a token."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    line = re.sub(r"[\w+/=.~-]{40,}", "…", line).strip()[:_LONGEST_QUOTE]
    return f"“{line}”" if line else "no reason"


def _throttled(text: str, mailbox: str) -> Fault:
    named = _BACKOFF.search(text)
    wait = int(named[1]) / 1000 if named else _WAIT_UNNAMED
    failure = ThrottledError(
        f"{mailbox}: the server asks to wait {wait:.0f} s before the next command",
        retry_after=wait,
        remedy="lower ingest.concurrency, or spread the rounds over the day",
    )
    return Fault(failure, (wait,) * 4 if wait <= LONGEST_WAIT else ())


def _place(server: Server, protocol: MailProtocol) -> str:
    return f"{protocol.scheme}://{server.host}:{server.port}"


def _explain(error: Exception, server: Server, protocol: MailProtocol) -> tuple[str, str, bool]:
    """What happened, what to do, and whether another try may end differently."""
    route = f"allow outgoing connections to {server.host} on port {server.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = "if a private CA signed it, name the CA's PEM file in tenant.endpoints.ca_file"
        return f"its TLS certificate is not trusted ({error.verify_message})", remedy, False
    if isinstance(error, ssl.SSLError):
        remedy = "check that the port speaks TLS 1.2 or later from the first byte (not STARTTLS)"
        return "TLS failed", remedy, False
    if isinstance(error, socket.gaierror | UnicodeError):
        remedy = f"check {protocol.setting}, tenant.cloud and this computer's DNS"
        return f"the name {server.host} is not known", remedy, True
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused", route, True
    if isinstance(error, TimeoutError):
        return "no answer in time", route, True
    if isinstance(error, OSError):
        return "the connection broke", route, True
    remedy = f"check {protocol.setting}: host and port must be those of {protocol.name} over TLS"
    article = "an" if protocol is IMAP else "a"
    return f"what answers there does not greet as {article} {protocol.name} server", remedy, True
