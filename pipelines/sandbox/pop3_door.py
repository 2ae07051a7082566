# mypy: disallow-untyped-calls=False
"""The POP3 door: the Inbox, by number and UIDL, as Exchange Online shows it.

Twisted's own POP3 server rewrites line ends in what it sends, and its timers sit on the
global reactor; only its lines and time-outs are used. Sources: RFC 1939, RFC 2449, RFC 5034,
Microsoft's "Authenticate an IMAP, POP or SMTP connection using OAuth".
"""

from collections.abc import Iterator
from copy import copy
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.protocols.policies import TimeoutMixin

from pipelines.sandbox.faults import Door, Fault, FaultKind
from pipelines.sandbox.mail_doors_mime import as_fault_shows, read_header, read_in_chunks
from pipelines.sandbox.mail_doors_session import (
    FRONT_END,
    DoorSession,
    SignInRefusedError,
    token_is_too_long,
)
from pipelines.sandbox.store import Message, StoreError

_REFUSED = "Authentication failure: unknown user name or bad password."
_BASIC_REFUSED = "Logon failure: unknown user name or bad password."
_BROKEN = "Protocol error. Connection is closed. 10"
_INVALID = "Command is not valid in this state."
_OPEN = frozenset({"CAPA", "AUTH", "USER", "PASS", "QUIT"})
_INBOX = "Inbox"


class _RefusedError(Exception):
    """Becomes ``-ERR``."""


class Pop3Door(DoorSession, LineReceiver, TimeoutMixin):
    """One POP3 session. Faults name commands as on the wire; a sign-in is ``LOGIN``."""

    door = Door.POP3
    role = "POP.AccessAsApp"
    MAX_LENGTH = 8192
    timeOut = 600  # noqa: N815 - Twisted's name

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        super().connectionMade()
        self._messages: list[Message] = []
        self._deleted: set[int] = set()
        self._locked = False
        self._signing_in = False
        self.setTimeout(self.timeOut)
        self.sendLine(f"+OK The Microsoft Exchange POP3 service is ready. [{FRONT_END}]".encode())

    def connectionLost(self, reason: Any = connectionDone) -> None:  # noqa: N802 - Twisted's name
        self.setTimeout(None)
        self._unlock()
        super().connectionLost(reason)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002, N802 - Twisted's signature
        self._end(_BROKEN)

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        self.resetTimeout()
        self.run(self._answer(line))

    async def _answer(self, line: bytes) -> None:
        try:
            if self._signing_in:
                self._signing_in = False
                await self._take_response(line)
            else:
                await self._command(*line.decode("latin-1").split(" "))
        except _RefusedError as refusal:
            self.sendLine(f"-ERR {refusal}".encode())

    async def _command(self, name: str, *arguments: str) -> None:
        name = name.upper()
        if name not in _OPEN:
            if self.address is None:
                raise _RefusedError(_INVALID)
            try:
                self.check_token()
            except SignInRefusedError:
                self._end("Session invalidated - AccessTokenExpired")
                return
        number = self._number(arguments) if name in ("RETR", "TOP", "DELE", "LIST", "UIDL") else None
        uid = self._messages[number].uid if number is not None else None
        fault = None if name in ("AUTH", "USER", "PASS") else self.fault(name, uid)
        if fault and await self._misbehave(fault):
            return
        handler = getattr(self, f"_do_{name.lower()}", None)
        if handler is None:
            raise _RefusedError("Protocol error. 14")
        await handler(number, arguments, fault)

    async def _misbehave(self, fault: Fault) -> bool:
        """Commit a fault that is not about a message's content; whether that was the answer."""
        match fault.kind:
            case FaultKind.DELAY:
                await self.pause(fault.seconds)
                return False
            case FaultKind.DROP:
                self.cut_after(fault.bytes)
                if fault.bytes == 0:
                    self.transport.loseConnection()
                return fault.bytes == 0
            case FaultKind.THROTTLE:
                wait = round(fault.seconds * 1000)
                self._end(f"Request is throttled. Suggested Backoff Time: {wait} milliseconds")
            case FaultKind.EXPIRE:
                self._end("Session invalidated - AccessTokenExpired")
            case FaultKind.UNAVAILABLE:
                self._end("Server Unavailable. 21")
            case FaultKind.REFUSE:
                self._end(_REFUSED)
            case FaultKind.ERROR:
                self._end(fault.code or "Protocol error. Connection is closed. 10")
            case _:
                return False
        return True

    def _number(self, arguments: tuple[str, ...]) -> int | None:
        if not arguments or not arguments[0]:
            return None
        index = int(arguments[0]) - 1 if arguments[0].isdecimal() else -1
        if not 0 <= index < len(self._messages) or index in self._deleted:
            raise _RefusedError("The specified message is out of range.")
        return index

    # Signing in

    async def _do_capa(self, *_: object) -> None:
        self._lines("", [b"TOP", b"UIDL", b"SASL PLAIN XOAUTH2", b"USER"])

    async def _do_auth(self, _: object, arguments: tuple[str, ...], *__: object) -> None:
        if self.address is not None:
            raise _RefusedError(_INVALID)
        if not arguments:
            self._lines("", [b"PLAIN", b"XOAUTH2"])
        elif arguments[0].upper() not in ("PLAIN", "XOAUTH2"):
            raise _RefusedError("Unrecognized authentication type.")
        elif len(arguments) > 1:
            self._end(_BROKEN)
        elif arguments[0].upper() == "PLAIN":
            raise _RefusedError(_REFUSED)
        else:
            self._signing_in = True
            self.sendLine(b"+ ")

    async def _take_response(self, line: bytes) -> None:
        if token_is_too_long(line):
            return self._end(_BROKEN)
        try:
            self.sign_in(line)
        except SignInRefusedError:
            raise _RefusedError(_REFUSED) from None
        fault = self.fault("LOGIN")
        if fault and await self._misbehave(fault):
            return None
        address = self.address or ""
        if not self.may_read():
            self.address = None
            raise _RefusedError(_REFUSED)
        if self.tenancy.behaviour.pop3_lock:
            if address in self.tenancy.locked:
                self.address = None
                raise _RefusedError("[IN-USE] The mailbox is locked by another session.")
            self.tenancy.locked.add(address)
            self._locked = True
        self._messages = self._listing(address)
        self.sendLine(b"+OK User successfully authenticated.")
        return None

    def _listing(self, address: str) -> list[Message]:
        """The Inbox as it is now, and stays for this session."""
        store = self.tenancy.store
        try:
            return store.snapshot(lambda: [copy(each) for each in store.listing(address, _INBOX, Door.POP3)])
        except StoreError:
            return []

    def _unlock(self) -> None:
        if self._locked:
            self._locked = False
            self.tenancy.locked.discard(self.address or "")

    async def _do_user(self, *_: object) -> None:
        self.sendLine(b"+OK")

    async def _do_pass(self, *_: object) -> None:
        raise _RefusedError(_BASIC_REFUSED)

    # The maildrop

    def _left(self) -> Iterator[tuple[int, Message]]:
        return ((index + 1, each) for index, each in enumerate(self._messages) if index not in self._deleted)

    async def _do_stat(self, *_: object) -> None:
        sizes = [self.tenancy.size_of(each) for _, each in self._left()]
        self.sendLine(b"+OK %d %d" % (len(sizes), sum(sizes)))

    async def _do_list(self, index: int | None, *_: object) -> None:
        if index is not None:
            self.sendLine(b"+OK %d %d" % (index + 1, self.tenancy.size_of(self._messages[index])))
            return
        left = list(self._left())
        total = sum(self.tenancy.size_of(each) for _, each in left)
        lines = [b"%d %d" % (number, self.tenancy.size_of(each)) for number, each in left]
        self._lines(f" {len(left)} {total}", lines)

    async def _do_uidl(self, index: int | None, *_: object) -> None:
        if index is not None:
            self.sendLine(b"+OK %d %s" % (index + 1, self._messages[index].uidl.encode()))
            return
        self._lines("", [b"%d %s" % (number, each.uidl.encode()) for number, each in self._left()])

    async def _do_retr(self, index: int | None, _: object, fault: Fault | None) -> None:
        message, store = self._chosen(index), self.tenancy.store
        self.sendLine(b"+OK")
        if fault and fault.kind is FaultKind.EMPTY:
            self.sendLine(b".")
            return
        shown = as_fault_shows(fault, "POP3", store, message)
        chunks = read_in_chunks(store, message) if shown is None else iter([shown])
        await self._send(chunks)

    async def _do_top(self, index: int | None, arguments: tuple[str, ...], *_: object) -> None:
        message = self._chosen(index)
        if len(arguments) != 2 or not arguments[1].isdecimal():
            raise _RefusedError("Protocol error. 14")
        header = read_header(self.tenancy.store, message)
        top = header + self._first_lines(message, len(header), int(arguments[1]))
        self.sendLine(b"+OK")
        await self._send(iter([top]))

    def _first_lines(self, message: Message, start: int, count: int) -> bytes:
        if count == 0:
            return b""
        found = b""
        for chunk in read_in_chunks(self.tenancy.store, message, start):
            found += chunk
            if found.count(b"\r\n") >= count:
                break
        lines = found.split(b"\r\n", count)
        return b"".join(line + b"\r\n" for line in lines[:count]) if len(lines) > count else found

    async def _do_dele(self, index: int | None, *_: object) -> None:
        message = self._chosen(index)
        self.tenancy.store.attempted("pop3", self.address or "", f"DELE {message.uidl}")
        self._deleted.add(self._messages.index(message))
        self.sendLine(b"+OK")

    async def _do_noop(self, *_: object) -> None:
        self.sendLine(b"+OK")

    async def _do_rset(self, *_: object) -> None:
        self._deleted.clear()
        self.sendLine(b"+OK")

    async def _do_quit(self, *_: object) -> None:
        for index in sorted(self._deleted):
            try:
                self.tenancy.store.delete(self.address or "", _INBOX, self._messages[index].uid)
            except StoreError:
                continue
        self._unlock()
        self.sendLine(b"+OK Microsoft Exchange Server POP3 server signing off.")
        self.transport.loseConnection()

    def _chosen(self, index: int | None) -> Message:
        if index is None:
            raise _RefusedError("Protocol error. 14")
        return self._messages[index]

    async def _send(self, chunks: Iterator[bytes]) -> None:
        async with self.streaming() as send:
            for chunk in _stuffed(chunks):
                await send(chunk)

    def _lines(self, told: str, lines: list[bytes]) -> None:
        self.write(b"\r\n".join([b"+OK" + told.encode(), *lines, b".", b""]))

    def _end(self, text: str) -> None:
        self._unlock()
        self.sendLine(f"-ERR {text}".encode())
        self.transport.loseConnection()


def _stuffed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The message with lines that start with a dot given another, and the end mark (RFC 1939, 3)."""
    before = b"\r\n"
    for chunk in chunks:
        text = before + chunk
        yield text.replace(b"\r\n.", b"\r\n..")[len(before) :]
        before = text[-2:]
    yield b".\r\n" if before == b"\r\n" else b"\r\n.\r\n"
