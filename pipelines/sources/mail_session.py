"""A signed-in connection to one mailbox that is replaced when it ends, and goes on where it stood."""

import contextlib
import functools
import itertools
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pipelines.auth import Resource, Server, TokenProvider, check_claims, describe_claims, resolve, trust
from pipelines.clock import Clock
from pipelines.config import Tenant
from pipelines.errors import ConnectionLostError, MailoverError
from pipelines.sources.mail_faults import (
    CommandRefusedError,
    Fault,
    MailProtocol,
    sign_in_refused,
    unreachable,
)

CONNECT_SECONDS, READ_SECONDS, GOODBYE_SECONDS = 20, 180, 5
"""Exchange converts a message while the client waits for its first byte."""
TRIES = 5
_FRESH = timedelta(minutes=10)
"""A token refused so soon after it was issued would be refused again."""

Client = TypeVar("Client")
T = TypeVar("T")


class SignInRefusedError(CommandRefusedError):
    """The server does not take the token for this mailbox."""


class MailSession(ABC, Generic[Client]):
    """One mailbox over TLS, signed in with XOAUTH2; what ``Client`` is, the protocol says."""

    protocol: ClassVar[MailProtocol]
    errors: ClassVar[tuple[type[Exception], ...]] = (OSError, UnicodeError, MailoverError)
    """What may come out of a client; anything else is a fault of Mailover."""

    def __init__(
        self, tenant: Tenant, mailbox: str, tokens: TokenProvider, clock: Clock, server: Server
    ) -> None:
        """Nothing is sent before the first command."""
        self.mailbox = mailbox
        self._tenant, self._tokens, self._clock, self._server = tenant, tokens, clock, server
        self._client: Client | None = None
        self._signed_in = False
        self._token = self._dead_token = ""

    def run(self, work: Callable[[Client], T], *, tries: int = TRIES) -> T:
        """Do ``work`` on a live session; one that ends is replaced and ``work`` done again.

        The pauses are those the server asked for; ``tries`` bounds how often the connection may be
        lost. Raises ``CommandRefusedError`` where the server refuses the command and nothing else, and
        ``AccessError``, ``TransientError`` or ``FolderGoneError`` where no further try may help.
        """
        for failures in itertools.count():
            try:
                return work(self._connected())
            except self.errors as error:
                fault = self._fault(error)
            # Outside the handler: what a library quotes in its errors can be mail.
            if not fault.keeps_session:
                self._drop()
            if fault.new_token:
                self._dead_token = self._token
            lost = isinstance(fault.error, ConnectionLostError)
            if failures >= len(fault.pauses) or (lost and failures + 1 >= tries):
                raise fault.error
            if pause := fault.pauses[failures]:
                self._clock.sleep(pause)
        raise AssertionError

    def close(self) -> None:
        """Sign out; never raises."""
        if self._client is None:
            return
        with contextlib.suppress(*self.errors):
            self._sign_out(self._client)
        self._drop()

    @abstractmethod
    def _connect(self, context: ssl.SSLContext) -> Client:
        """Connect and take the greeting."""

    @abstractmethod
    def _sign_in(self, client: Client) -> None:
        """Hand over ``_token``. Raises ``SignInRefusedError``."""

    @abstractmethod
    def _sign_out(self, client: Client) -> None:
        """Say goodbye, within ``GOODBYE_SECONDS``."""

    @abstractmethod
    def _disconnect(self, client: Client) -> None:
        """Close the connection, whatever state it is in."""

    @abstractmethod
    def _fault(self, error: Exception) -> Fault:
        """What to report and whether to try again; words are taken over only where they are the server's."""

    def _connected(self) -> Client:
        if self._client is None:
            self._take_token()
            self._client = self._connect(_trusted(resolve(self._tenant).ca_file))
            self._sign_in(self._client)
            self._signed_in = True
        return self._client

    def _take_token(self) -> None:
        self._token = self._tokens.token(Resource.OUTLOOK)
        if self._token == self._dead_token:
            self._token = self._tokens.token(Resource.OUTLOOK, refresh=True)
        check_claims(self._token, Resource.OUTLOOK, self._tenant, self.protocol.role, clock=self._clock)

    def _refused(self, text: str) -> Fault:
        """A refused sign-in: tried once more with a new token, where the one used was not new."""
        claims = describe_claims(self._token)
        issued = claims.issued_at if claims else None
        fresh = self._token == self._dead_token or (issued and self._clock.now() - issued < _FRESH)
        failure = sign_in_refused(self.mailbox, text, self.protocol)
        return Fault(failure, () if fresh else (0.0,), new_token=not fresh)

    def _unreachable(self, error: Exception) -> Fault:
        return unreachable(error, self._server, self.protocol)

    def _drop(self) -> None:
        client, self._client, self._signed_in = self._client, None, False
        if client is not None:
            with contextlib.suppress(OSError):
                self._disconnect(client)


@functools.cache
def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    # Read once, for all mailboxes: the system's certificates take a fiftieth of a second.
    return trust(ca_file)
