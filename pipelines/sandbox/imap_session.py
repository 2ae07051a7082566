# mypy: disallow-untyped-calls=False
"""An IMAP session up to the mailbox: commands in, answers out, sign-in, faults.

Twisted's server reads lines, literals and arguments and knows the states; what is answered
is written here, since Exchange answers in its own words. Sources: RFC 3501, RFC 4959
(SASL-IR), RFC 7888 (LITERAL+), and traces of Exchange Online.
"""

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.mail.imap4 import (
    IllegalClientResponse,
    IMAP4Server,
    LiteralString,
    MismatchedNesting,
    MismatchedQuoting,
    parseNestedParens,
)

from pipelines.sandbox.faults import Door, Fault, FaultKind
from pipelines.sandbox.imap_fetch import check_items
from pipelines.sandbox.mail_doors_session import FRONT_END, DoorSession, SignInRefusedError

_BEFORE = (
    "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
)
_AFTER = (
    "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES "
    "CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+"
)
_GMAIL_CHALLENGE = b"eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIn0="
_HARMLESS = frozenset({"CAPABILITY", "ID", "LOGOUT", "NOOP"})
"""Commands that a session without a mailbox behind it may still give."""
_MOST_BAD_COMMANDS = 10
_LITERAL = re.compile(rb"\{(\d+)(\+?)\}$")
BAD_ARGUMENT = "Command Argument Error. 11"
_INVALID_STATE = "Command received in Invalid state."


class ImapSession(DoorSession, IMAP4Server):
    """What every IMAP session does, whatever the mailbox holds."""

    door = Door.IMAP
    role = "IMAP.AccessAsApp"
    MAX_LENGTH = 10_240
    timeOut = 60 * 30  # noqa: N815 - Twisted's name

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._refused = False
        self._bad_commands = 0

    def sendServerGreeting(self) -> None:  # noqa: N802 - Twisted's name
        self.sendLine(f"* OK The Microsoft Exchange IMAP4 service is ready. [{FRONT_END}]".encode())

    def timeoutConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.bye("Connection is closed. 13")

    # One command after another

    def parse_command(self, line: bytes) -> None:
        """Commit what the faults say, then let Twisted read the command."""
        words = line.upper().decode("latin-1").split(None, 3)
        tag, command = line.split(None, 1)[0] if words else b"*", words[1] if len(words) > 1 else ""
        if command == "UID":
            command = words[2] if len(words) > 2 else ""
        if self.is_over(tag, command):
            return
        fault = None if command in ("AUTHENTICATE", "FETCH", "") else self.fault(command)
        if fault and fault.kind is FaultKind.DELAY:
            self.run(self._later(fault.seconds, line))
        elif fault is None or not self.misbehave(tag, fault):
            super().parse_command(line)

    async def _later(self, seconds: float, line: bytes) -> None:
        await self.pause(seconds)
        super().parse_command(line)

    def is_over(self, tag: bytes, command: str) -> bool:
        """Whether the session has ended, or never had a mailbox behind it."""
        if self.address is None:
            return False
        try:
            self.check_token()
        except SignInRefusedError:
            self._expire(tag)
            return True
        if self._refused and command not in _HARMLESS:
            self._disconnected(tag)
            return True
        return False

    def misbehave(self, tag: bytes, fault: Fault) -> bool:
        """Commit a fault that is not about a message's content; whether that was the answer."""
        match fault.kind:
            case FaultKind.THROTTLE:
                wait = round(fault.seconds * 1000)
                text = f"Request is throttled. Suggested Backoff Time: {wait} milliseconds"
                self.tell(tag, self.tenancy.behaviour.throttle_with, text)
                self.bye("Connection closed. 14")
            case FaultKind.EXPIRE:
                self._expire(tag)
            case FaultKind.UNAVAILABLE:
                self.tell(tag, "NO", "Server Unavailable. 15")
            case FaultKind.REFUSE if self.address is None:
                self.tell(tag, "NO", "LOGIN failed.")
            case FaultKind.REFUSE:
                self._disconnected(tag)
            case FaultKind.ERROR:
                state, _, text = (fault.code or f"BAD {BAD_ARGUMENT}").partition(" ")
                self.tell(tag, state, text)
            case FaultKind.DROP if fault.bytes == 0:
                self.transport.loseConnection()
            case FaultKind.DROP:
                self.cut_after(fault.bytes)
                return False
            case _:
                return False
        return True

    def tell(self, tag: bytes, state: str, text: str) -> None:
        """The tagged answer."""
        self.sendLine(b"%s %s %s" % (tag, state.encode(), text.encode()))

    def done(self, tag: bytes, command: str) -> None:
        """The tagged answer when all went well."""
        self.tell(tag, "OK", f"{command} completed.")

    def bye(self, text: str) -> None:
        """End the session."""
        self.sendLine(f"* BYE {text}".encode())
        self.transport.loseConnection()

    def sendBadResponse(self, tag: bytes | None = None, message: bytes = b"") -> None:  # noqa: N802
        """Twisted's complaints in Exchange's words."""
        known = message == b"Unsupported command"
        self.tell(tag or b"*", "BAD", _INVALID_STATE if known else BAD_ARGUMENT)
        self._bad_commands += 1
        if self._bad_commands >= _MOST_BAD_COMMANDS:
            self.bye("Connection closed. 14")

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        self.tell(line.split(None, 1)[0][:80], "BAD", BAD_ARGUMENT)
        self.transport.loseConnection()

    def _expire(self, tag: bytes) -> None:
        self.sendLine(b"* BYE Session invalidated - AccessTokenExpired")
        self.tell(tag, "BAD", _INVALID_STATE)
        self.transport.loseConnection()

    def _disconnected(self, tag: bytes) -> None:
        self.tell(tag, "BAD", "User is authenticated but not connected.")
        self.bye("Connection closed. 14")

    # Arguments, where Twisted's reading stops short of LITERAL+ and quoted backslashes

    def arg_astring(self, line: bytes | None, final: bool = False) -> Any:  # noqa: ARG002
        line = (line or b"").lstrip()
        if literal := _LITERAL.match(line):
            return self.literal(literal)
        if line.startswith(b'"'):
            quoted = re.match(rb'"((?:[^"\\]|\\.)*)" ?', line)
            if quoted is None:
                raise IllegalClientResponse("unmatched quotes")
            return re.sub(rb"\\(.)", rb"\1", quoted[1]), line[quoted.end() :]
        word, _, rest = line.partition(b" ")
        if not word:
            raise IllegalClientResponse("missing argument")
        return word, rest

    def literal(self, marker: re.Match[bytes]) -> "Deferred[tuple[bytes, bytes]]":
        """The bytes of a literal whose marker ends the line, and the rest of the command."""
        size: Deferred[tuple[bytes, bytes]] = Deferred()
        self.parseState = "pending"
        self._pendingLiteral = LiteralString(int(marker[1]), size)
        if not marker[2]:
            self.sendContinuationRequest(b"Ready for additional command text.")
        if int(marker[1]):
            self.setRawMode()
        return size

    async def arg_search(self, line: bytes | None) -> tuple[list[object], bytes]:
        """A search query, its literals taken in."""
        whole, line = b"", line or b""
        while marker := _LITERAL.search(line):
            found, rest = await self.literal(marker)
            whole += line[: marker.start()] + b"{%d}\r\n" % len(found) + found
            line = rest
        try:
            return parseNestedParens(whole + line), b""
        except (MismatchedNesting, MismatchedQuoting, ValueError):
            raise IllegalClientResponse("bad search") from None

    def opt_charset(self, line: bytes | None) -> tuple[bytes | None, bytes]:
        """The character set of a search."""
        charset, rest = super().opt_charset(line or b"")
        return charset, rest

    def arg_set(self, line: bytes | None) -> tuple[bytes, bytes]:
        """A sequence set; which messages it names shows with the folder."""
        chosen, _, rest = (line or b"").partition(b" ")
        return chosen, rest

    def arg_items(self, line: bytes) -> tuple[list[Any], bytes]:
        """What a FETCH asks for."""
        try:
            items, rest = self.arg_fetchatt(line)
        except Exception:  # noqa: BLE001 - Twisted's reader raises nothing finer
            raise IllegalClientResponse("bad fetch items") from None
        check_items(items)
        return items, rest

    async def arg_mime(self, line: bytes | None) -> tuple[bytes, bytes]:
        """A message that comes as a literal."""
        marker = _LITERAL.match(line or b"")
        if marker is None:
            raise IllegalClientResponse("literal expected")
        return await self.literal(marker)

    def opt_line(self, line: bytes | None) -> tuple[bytes, bytes]:
        """Whatever stands there."""
        return line or b"", b""

    # Signing in

    def do_capability(self, tag: bytes) -> None:
        self.sendLine(b"* CAPABILITY " + (_BEFORE if self.address is None else _AFTER).encode())
        self.done(tag, "CAPABILITY")

    def do_login(self, tag: bytes, _: bytes) -> None:
        """Basic authentication is gone."""
        self.tell(tag, "NO", "LOGIN failed.")

    def do_authenticate(self, tag: bytes, line: bytes) -> None:
        mechanism, _, response = line.partition(b" ")
        if mechanism.upper() not in (b"XOAUTH2", b"PLAIN"):
            self.tell(tag, "NO", "AUTHENTICATE failed.")
        elif response:
            self._authenticate(tag, mechanism, response)
        else:
            self._ask(lambda line: self._authenticate(tag, mechanism, line))

    def _ask(self, take: Any, challenge: bytes = b"") -> None:
        self.parseState = "pending"
        line: Any = Deferred()
        self._pendingLiteral = line.addCallback(take)
        self.sendLine(b"+ " + challenge)

    def _authenticate(self, tag: bytes, mechanism: bytes, response: bytes) -> None:
        if response == b"*":
            self.tell(tag, "BAD", "AUTHENTICATE canceled.")
            return
        try:
            if mechanism.upper() != b"XOAUTH2":
                raise SignInRefusedError
            self.sign_in(response)
        except SignInRefusedError:
            self._refuse(tag)
            return
        fault = self.fault("LOGIN")
        if fault and fault.kind is FaultKind.REFUSE:
            self.address = None
            self._refuse(tag)
        elif fault and fault.kind is FaultKind.DELAY:
            self.run(self._welcome_later(tag, fault.seconds))
        elif fault is None or not self.misbehave(tag, fault):
            self._welcome(tag)
        else:
            self.address = None

    def _refuse(self, tag: bytes) -> None:
        if self.tenancy.behaviour.sasl_error_challenge:
            self._ask(lambda _: self.tell(tag, "NO", "AUTHENTICATE failed."), _GMAIL_CHALLENGE)
        else:
            self.tell(tag, "NO", "AUTHENTICATE failed.")

    async def _welcome_later(self, tag: bytes, seconds: float) -> None:
        await self.pause(seconds)
        self._welcome(tag)

    def _welcome(self, tag: bytes) -> None:
        self.state = "auth"
        self._refused = not self.may_read()
        self.done(tag, "AUTHENTICATE")

    def do_logout(self, tag: bytes) -> None:
        self.sendLine(b"* BYE Microsoft Exchange Server IMAP4 server signing off.")
        self.done(tag, "LOGOUT")
        self.transport.loseConnection()
