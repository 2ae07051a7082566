# mypy: disallow-untyped-calls=False
"""The IMAP and POP3 doors of the sandbox tenant, opened and shut.

Twisted gives TLS, flow control and (for IMAP) the reading of commands. Both doors run in a
reactor of their own in one thread, so that many tenants can live in one process and each
goes without a trace.
"""

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface.declarations import implementer

from pipelines.sandbox.faults import Faults
from pipelines.sandbox.imap_door import ImapDoor
from pipelines.sandbox.mail_doors_session import Behaviour, DoorSession, Tenancy, Verify
from pipelines.sandbox.pop3_door import Pop3Door
from pipelines.sandbox.store import Store

__all__ = ["Behaviour", "MailDoors", "start_mail_doors"]


@dataclass(frozen=True, slots=True)
class MailDoors:
    """Two servers on 127.0.0.1, TLS from the first byte."""

    imap_port: int
    pop3_port: int
    _loop: "_ReactorThread"

    def stop(self) -> None:
        """Cut every connection and give the ports back."""
        self._loop.stop()


def start_mail_doors(
    store: Store,
    verify: Verify,
    faults: Faults,
    certificate: Path,
    *,
    imap_port: int = 0,
    pop3_port: int = 0,
    behaviour: Behaviour | None = None,
) -> MailDoors:
    """Serve ``store`` over IMAP and POP3.

    ``verify`` is ``Entra.verify``; ``certificate`` a PEM file with certificate and key; a port
    of 0 means any free one. Raises ``OSError`` where a port is taken.
    """
    tenancy = Tenancy(store, verify, faults, behaviour or Behaviour())
    context = _Tls(certificate)
    loop = _ReactorThread()
    try:
        ports = [
            loop.call(_listen, loop, door, tenancy, context, port)
            for door, port in ((ImapDoor, imap_port), (Pop3Door, pop3_port))
        ]
    except BaseException:
        loop.stop()
        raise
    return MailDoors(ports[0], ports[1], loop)


@implementer(IOpenSSLContextFactory)
class _Tls:
    """TLS 1.2 or later, as Exchange Online has it."""

    def __init__(self, certificate: Path) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.set_min_proto_version(SSL.TLS1_2_VERSION)
        self._context.use_certificate_chain_file(certificate)
        self._context.use_privatekey_file(certificate)

    def getContext(self) -> SSL.Context:  # noqa: N802 - Twisted's name
        return self._context


class _ReactorThread:
    """A Twisted reactor that is not the process's global one, so that it can be ended."""

    def __init__(self) -> None:
        self._events = asyncio.SelectorEventLoop()
        self.reactor: Any = AsyncioSelectorReactor(self._events)
        self.sessions: set[DoorSession] = set()
        self._thread = threading.Thread(target=self._run, name="mail-doors", daemon=True)
        self._thread.start()

    def call(self, function: Any, *arguments: Any) -> Any:
        """Run a function in the reactor's thread and return what it returns."""
        outcome: Future[Any] = Future()

        def run() -> None:
            try:
                outcome.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
                outcome.set_exception(error)

        self.reactor.callFromThread(run)
        return outcome.result()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.call(self._abort)
            self.reactor.callFromThread(self.reactor.stop)
            self._thread.join()

    def _abort(self) -> None:
        for session in list(self.sessions):
            session.transport.abortConnection()

    def _run(self) -> None:
        self.reactor.run(installSignalHandlers=False)
        self._events.close()


class _Doorway(Factory):
    noisy = False

    def __init__(self, door: type[DoorSession], tenancy: Tenancy, loop: _ReactorThread) -> None:
        self._door, self._tenancy, self._loop = door, tenancy, loop

    def buildProtocol(self, addr: object) -> Any:  # noqa: ARG002, N802 - Twisted's signature
        return self._door(self._tenancy, self._loop.reactor, self._loop.sessions)


def _listen(loop: _ReactorThread, door: type[DoorSession], tenancy: Tenancy, context: Any, port: int) -> int:
    # Without a clock of its own the TLS layer would set its timers on the global reactor.
    doorway: Any = _Doorway(door, tenancy, loop)
    factory = TLSMemoryBIOFactory(context, False, doorway, clock=loop.reactor)
    factory.noisy = False
    return int(loop.reactor.listenTCP(port, factory, interface="127.0.0.1").getHost().port)
