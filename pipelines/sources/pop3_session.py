"""A POP3 session: signed in with a token in two steps, its listing taken once."""

import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import TypeVar

from pipelines.auth import TokenProvider, resolve, xoauth2
from pipelines.clock import Clock
from pipelines.config import Tenant
from pipelines.errors import MailoverError, SignInError, TransientError
from pipelines.sources.mail_faults import (
    POP3,
    CommandRefusedError,
    Fault,
    broken,
    lost_connection,
    no_xoauth2,
    quote,
    session_fault,
)
from pipelines.sources.mail_session import (
    CONNECT_SECONDS,
    GOODBYE_SECONDS,
    READ_SECONDS,
    TRIES,
    MailSession,
    SignInRefusedError,
)
from pipelines.sources.pop3_wire import NotPop3Error, NoUniqueIdError, Pop3Connection, SessionRefusedError

_LONGEST_TOKEN = 4096
"""Characters; with more, Exchange's POP3 answers with a protocol error (seen since July 2025)."""
_LOCKED = re.compile(
    r"\[in-use\]|\b(mail ?drop|mailbox)\b.{0,40}\b(locked|in use|busy)|\block\b.{0,20}\b(mail ?drop|mailbox)"
    r"|\b(another|other) (pop3? )?session",
    re.IGNORECASE,
)
_CLOSED = re.compile(r"connection (is )?closed|closing connection|disconnected|timed? ?out", re.IGNORECASE)

T = TypeVar("T")


class Pop3Session(MailSession[Pop3Connection]):
    """One mailbox's Inbox over POP3 with TLS and XOAUTH2. DELE is not among its commands.

    A session shows the Inbox as it was at its sign-in (RFC 1939, 3 and 8).
    """

    protocol = POP3
    errors = (NotPop3Error, NoUniqueIdError, *MailSession.errors)

    def __init__(self, tenant: Tenant, mailbox: str, tokens: TokenProvider, clock: Clock) -> None:
        """Nothing is sent before the first command."""
        super().__init__(tenant, mailbox, tokens, clock, resolve(tenant).pop3)

    def run_listed(self, work: Callable[[Pop3Connection, Mapping[str, int]], T], *, tries: int = TRIES) -> T:
        """``run`` with the message numbers of the session that ``work`` is done in, by native id."""
        return self.run(lambda client: work(client, client.numbers()), tries=tries)

    def _connect(self, context: ssl.SSLContext) -> Pop3Connection:
        plain = socket.create_connection(self._server, CONNECT_SECONDS)
        secure = context.wrap_socket(plain, server_hostname=self._server.host)
        client = Pop3Connection(secure, lambda text: bool(self._session_fault(text)))
        try:
            client.greeting()
        except Exception:
            client.close()
            raise
        secure.settimeout(READ_SECONDS)
        return client

    def _sign_in(self, client: Pop3Connection) -> None:
        """In two steps: Exchange closes the connection on an AUTH with its response in the same line."""
        try:
            client.ask("AUTH XOAUTH2")
        except CommandRefusedError as refused:
            raise no_xoauth2(self._server, POP3, f": it says {quote(refused.text)}") from None
        try:
            if not client.ask(b64encode(self._response()).decode()).upper().startswith("+OK"):
                # A second challenge tells why it was refused; an empty answer ends the exchange.
                client.ask("")
        except (CommandRefusedError, SessionRefusedError) as refused:
            raise SignInRefusedError(refused.text) from None
        except ConnectionError:
            if len(self._response()) <= _LONGEST_TOKEN:
                raise
            raise SignInRefusedError("the connection was closed") from None

    def _response(self) -> bytes:
        return xoauth2(self.mailbox, self._token)

    def _sign_out(self, client: Pop3Connection) -> None:
        client.quit(GOODBYE_SECONDS)

    def _disconnect(self, client: Pop3Connection) -> None:
        client.close()

    def _fault(self, error: Exception) -> Fault:
        if isinstance(error, SessionRefusedError):
            return self._session_fault(error.text) or self._lost(error.text)
        if isinstance(error, SignInRefusedError):
            return self._passing(error.text) or self._sign_in_refused(error.text)
        if isinstance(error, CommandRefusedError):
            return (
                self._not_listed(f"refuses UIDL or STAT: {quote(error.text)}")
                if self._client
                else self._lost(error.text)
            )
        if isinstance(error, MailoverError):
            return Fault(error, keeps_session=self._signed_in)
        if self._client is None:
            return self._unreachable(error)
        if isinstance(error, NoUniqueIdError):
            return self._not_listed("lists a message without a unique-id (UIDL)")
        return lost_connection(self.mailbox, broken(error, POP3))

    def _session_fault(self, text: str) -> Fault | None:
        """The fault that a server's ``text`` stands for; None where it concerns the one command only."""
        return self._passing(text) or (self._lost(text) if _CLOSED.search(text) else None)

    def _passing(self, text: str) -> Fault | None:
        if _LOCKED.search(text):
            return Fault(_locked(self.mailbox, text), (2.0, 5.0, 15.0, 30.0, 60.0))
        return session_fault(text, self.mailbox, POP3)

    def _lost(self, text: str) -> Fault:
        return lost_connection(self.mailbox, f"the server said {quote(text)}")

    def _not_listed(self, how: str) -> Fault:
        remedy = "without it messages cannot be told apart: read the mailbox by IMAP (legacy: imap)"
        return Fault(MailoverError(f"{self.mailbox}: the server {how}", remedy=remedy), (0.0,))

    def _sign_in_refused(self, text: str) -> Fault:
        if len(self._response()) > _LONGEST_TOKEN:
            return Fault(_token_too_long(self.mailbox, len(self._token), text))
        return self._refused(text)


def _locked(mailbox: str, text: str) -> TransientError:
    return TransientError(
        f"{mailbox}: another session holds the mailbox ({quote(text)}); POP3 lets in one at a time",
        remedy="end the other program's session or read at other times; a session that broke off is given up "
        "by the server after some ten minutes",
    )


def _token_too_long(mailbox: str, length: int, text: str) -> SignInError:
    return SignInError(
        f"{mailbox}: POP3 sign-in refused ({quote(text)}), and the token has {length:,} characters: "
        f"Exchange's POP3 fails on more than {_LONGEST_TOKEN:,}",
        remedy="take roles and group claims that are not needed from the app registration, or read the "
        "mailbox by IMAP (legacy: imap) or Graph",
    )
