# mypy: disallow-untyped-calls=False
"""What the IMAP and the POP3 door have in common: sign-in, faults, and answers of any length."""

import binascii
import logging
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from zope.interface.declarations import implementer

from pipelines.sandbox.entra import OUTLOOK, TokenRefusedError
from pipelines.sandbox.faults import Door, Fault, Faults
from pipelines.sandbox.store import Message, Store, StoreError

FRONT_END = "TQBBAEkATABPAFYARQBSAC0AUwBBAE4ARABCAE8AWAA="
"""What Exchange puts into its greetings: a host name in UTF-16LE and base64."""
_LONGEST_TOKEN = 4096
_log = logging.getLogger(__name__)


class Verify(Protocol):
    """``Entra.verify``."""

    def __call__(self, token: str, audience: str, role: str) -> None:
        """Raise ``TokenRefusedError`` unless the token is good."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Where servers of Exchange differ, or are not known."""

    exact_sizes: bool = False
    """``ImapEnableExactRFC822Size`` and its POP3 twin; an estimate without."""
    sasl_error_challenge: bool = False
    """Answer a bad token with a JSON challenge before the NO, as Gmail does; Exchange shows none."""
    pop3_lock: bool = True
    """One POP3 session per mailbox (RFC 1939, 8)."""
    throttle_with: str = "BAD"
    """``BAD`` or ``NO``: both have been seen before ``Request is throttled.``"""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """What a session works with."""

    store: Store
    verify: Verify
    faults: Faults
    behaviour: Behaviour
    locked: set[str] = field(default_factory=set)
    """Mailboxes with a POP3 session."""

    def size_of(self, message: Message) -> int:
        """The size that listings tell: Exchange's is an estimate, mostly too large."""
        return message.size if self.behaviour.exact_sizes else message.size + message.size // 8 + 293


class SignInRefusedError(Exception):
    """Not a token for this door, or not one any more."""


@implementer(IPushProducer)
class _Flow:
    """Holds a long answer back while the client does not read."""

    def __init__(self) -> None:
        self._open, self._lost = True, False
        self._waiting: Deferred[None] | None = None

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._open = False

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._open = True
        self._wake()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._lost = True
        self._wake()

    async def ready(self) -> None:
        """Wait for room. Raises ``ConnectionDone`` where the client has gone."""
        if not self._open and not self._lost:
            self._waiting = Deferred()
            await self._waiting
        if self._lost:
            raise ConnectionDone

    def _wake(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)


class DoorSession:
    """Mixed into a Twisted protocol: one client's connection."""

    door: Door
    role: str
    transport: Any
    pauseProducing: Callable[[], None]  # noqa: N815 - Twisted's name
    resumeProducing: Callable[[], None]  # noqa: N815 - Twisted's name

    def __init__(self, tenancy: Tenancy, reactor: Any, sessions: set[Any]) -> None:
        super().__init__()
        self.tenancy = tenancy
        self.reactor = reactor
        self.address: str | None = None
        """The mailbox signed in to."""
        self._sessions = sessions
        self._token = ""
        self._cut: int | None = None
        self._running = 0

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        self._sessions.add(self)
        super().connectionMade()  # type: ignore[misc]

    def connectionLost(self, reason: Any = connectionDone) -> None:  # noqa: N802 - Twisted's name
        self._sessions.discard(self)
        super().connectionLost(reason)  # type: ignore[misc]

    def callLater(self, period: float, func: Any) -> Any:  # noqa: N802 - Twisted's name
        return self.reactor.callLater(period, func)

    def fault(self, command: str, uid: int | None = None) -> Fault | None:
        """The fault to commit now."""
        return self.tenancy.faults.match(self.door, command, self.address, uid)

    async def pause(self, seconds: float) -> None:
        """Wait without holding up other clients."""
        await deferLater(self.reactor, seconds)

    # Signing in

    def sign_in(self, response: bytes) -> None:
        """Take a SASL XOAUTH2 response, still in base64. Raises ``SignInRefusedError``."""
        try:
            user, token = _xoauth2(b64decode(response, validate=True))
        except (binascii.Error, ValueError):
            raise SignInRefusedError from None
        self._token = token
        self.check_token()
        self.address = user.lower()

    def check_token(self) -> None:
        """Raises ``SignInRefusedError`` once the session's token is no good any more."""
        try:
            self.tenancy.verify(self._token, OUTLOOK, self.role)
        except TokenRefusedError:
            raise SignInRefusedError from None

    def may_read(self) -> bool:
        """Whether the mailbox is there and granted to the application."""
        try:
            return self.tenancy.store.mailbox(self.address or "").granted
        except StoreError:
            return False

    # Answering

    def cut_after(self, count: int) -> None:
        """Let the connection break once ``count`` more bytes are sent."""
        self._cut = count

    def write(self, data: bytes) -> None:
        """Send, up to where the connection is to break."""
        if self._cut is None:
            self.transport.write(data)
            return
        self.transport.write(data[: self._cut])
        self._cut -= len(data)
        if self._cut <= 0:
            self._cut = 0
            self.transport.loseConnection()

    def sendLine(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        self.write(line + b"\r\n")

    @asynccontextmanager
    async def streaming(self) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        """A way to send pieces as fast as the client takes them."""
        flow = _Flow()

        async def send(piece: bytes) -> None:
            await flow.ready()
            self.write(piece)

        self.transport.registerProducer(flow, True)
        try:
            yield send
        finally:
            self.transport.unregisterProducer()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Answer a command that takes its time; what the client sends meanwhile waits."""
        self._running += 1
        self.pauseProducing()
        Deferred.fromCoroutine(work).addErrback(self._broken).addBoth(self._go_on)

    def _broken(self, failure: Any) -> None:
        self.transport.abortConnection()
        if not failure.check(ConnectionDone):
            _log.error("a session broke", exc_info=failure.value)

    def _go_on(self, _: object) -> None:
        self._running -= 1
        if not self._running:
            self.resumeProducing()


def token_is_too_long(response: bytes) -> bool:
    """POP3 breaks on long tokens."""
    return len(response) * 3 // 4 > _LONGEST_TOKEN


def _xoauth2(plain: bytes) -> tuple[str, str]:
    fields = dict(each.partition("=")[::2] for each in plain.decode().split("\x01") if each)
    scheme, _, token = fields.get("auth", "").partition(" ")
    if scheme.lower() != "bearer" or not fields.get("user") or not token:
        raise ValueError(scheme)
    return fields["user"], token
