# mypy: disallow-untyped-calls=False
"""The IMAP door: a mailbox as Exchange Online shows it.

Twisted's server reads commands, literals, states and FETCH items; what is answered is
written here, since Exchange answers in its own words and from the stored bytes. Sources:
RFC 3501, RFC 4959 (SASL-IR), RFC 7888 (LITERAL+), RFC 4315, RFC 6851, and traces of Exchange Online.
"""

import re
from copy import copy
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.mail.imap4 import IllegalClientResponse, IMAP4Server, LiteralString, parseNestedParens

from pipelines.sandbox.faults import Door, Fault, FaultKind
from pipelines.sandbox.imap_fetch import answer, asks_content, check_items, marks_seen
from pipelines.sandbox.imap_folders import list_lines, status_line, stored_path, visible_folders
from pipelines.sandbox.imap_search import Ranges, Search, positions, sequence_set
from pipelines.sandbox.imap_writing import ImapWriting
from pipelines.sandbox.mail_doors_mime import as_fault_shows
from pipelines.sandbox.mail_doors_session import (
    FRONT_END,
    DoorSession,
    SignInRefusedError,
)
from pipelines.sandbox.store import Message, Store, StoreError

_BEFORE = (
    "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
)
_AFTER = (
    "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES "
    "CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+"
)
_FLAGS = rb"\Seen \Answered \Flagged \Deleted \Draft $MDNSent"
_GMAIL_CHALLENGE = b"eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIn0="
_HARMLESS = frozenset({"CAPABILITY", "ID", "LOGOUT", "NOOP"})
"""Commands that a session without a mailbox behind it may still give."""
_MOST_BAD_COMMANDS = 10
_IDLE_LOOKS = 0.5
_LITERAL = re.compile(rb"\{(\d+)(\+?)\}$")
_BAD_ARGUMENT = "Command Argument Error. 11"
_INVALID_STATE = "Command received in Invalid state."


@dataclass(slots=True)
class Selected:
    """A folder as it was when the client last looked: sequence numbers hold until it looks again."""

    path: str
    read_only: bool
    messages: list[Message]
    uids: list[int]


class ImapDoor(DoorSession, ImapWriting, IMAP4Server):
    """One IMAP session.

    Faults name commands as on the wire, without ``UID``; a sign-in is ``LOGIN``. ``FETCH`` is a
    fetch of content, looked up message by message; a fetch of anything else is ``FETCH.INFO``.
    """

    door = Door.IMAP
    role = "IMAP.AccessAsApp"
    MAX_LENGTH = 10_240
    timeOut = 60 * 30  # noqa: N815 - Twisted's name

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.selected: Selected | None = None
        self._refused = False
        self._bad_commands = 0
        self._idle: Any = None

    @property
    def store(self) -> Store:
        """The mail store."""
        return self.tenancy.store

    def sendServerGreeting(self) -> None:  # noqa: N802 - Twisted's name
        self.sendLine(f"* OK The Microsoft Exchange IMAP4 service is ready. [{FRONT_END}]".encode())

    def timeoutConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.bye("Connection is closed. 13")

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        self._end_idle()
        super().connectionLost(reason)

    # One command after another

    def parse_command(self, line: bytes) -> None:
        """Commit what the faults say, then let Twisted read the command."""
        words = line.upper().decode("latin-1").split(None, 3)
        tag, command = line.split(None, 1)[0] if words else b"*", words[1] if len(words) > 1 else ""
        if command == "UID":
            command = words[2] if len(words) > 2 else ""
        if self._is_over(tag, command):
            return
        fault = None if command in ("AUTHENTICATE", "FETCH", "") else self.fault(command)
        if fault and fault.kind is FaultKind.DELAY:
            self.run(self._later(fault.seconds, line))
        elif fault is None or not self._misbehave(tag, fault):
            super().parse_command(line)

    async def _later(self, seconds: float, line: bytes) -> None:
        await self.pause(seconds)
        super().parse_command(line)

    def _is_over(self, tag: bytes, command: str) -> bool:
        """Whether the session has ended, or never had a mailbox behind it (facts, 1.4)."""
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

    def _misbehave(self, tag: bytes, fault: Fault) -> bool:
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
        self.tell(tag or b"*", "BAD", _INVALID_STATE if known else _BAD_ARGUMENT)
        self._bad_commands += 1
        if self._bad_commands >= _MOST_BAD_COMMANDS:
            self.bye("Connection closed. 14")

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        self.tell(line.split(None, 1)[0][:80], "BAD", _BAD_ARGUMENT)
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
        return parseNestedParens(whole + line), b""

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
        self._pendingLiteral = Deferred()
        self._pendingLiteral.addCallback(take)
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
        elif fault is None or not self._misbehave(tag, fault):
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

    # Folders

    def do_namespace(self, tag: bytes) -> None:
        self.sendLine(b'* NAMESPACE (("" "/")) NIL NIL')
        self.done(tag, "NAMESPACE")

    def do_id(self, tag: bytes, _: bytes) -> None:
        self.sendLine(b'* ID ("name" "Microsoft.Exchange.Imap4.Imap4Server" "version" "15.20")')
        self.done(tag, "ID")

    def do_list(self, tag: bytes, reference: bytes, pattern: bytes, command: str) -> None:
        if pattern:
            lines = list_lines(self.store, self.address or "", reference + pattern, command)
        else:
            lines = [b'* %s (\\Noselect) "/" ""' % command.encode()]
        for line in lines:
            self.sendLine(line)
        self.done(tag, command)

    def do_status(self, tag: bytes, name: bytes, items: list[bytes]) -> None:
        path = self.path(name)
        if path is None:
            self.no_such_folder(tag, name)
            return
        self.sendLine(status_line(self.store, self.address or "", path, items))
        self.done(tag, "STATUS")

    def do_select(self, tag: bytes, name: bytes, command: str) -> None:
        self.selected, self.state = None, "auth"
        path = self.path(name)
        if path is None:
            self.no_such_folder(tag, name)
            return
        folder, messages = self._look(path)
        self.selected = Selected(path, command == "EXAMINE", messages, [each.uid for each in messages])
        self.state = "select"
        lasting = b"" if self.selected.read_only else _FLAGS
        unseen = next((place for place, each in enumerate(messages, 1) if "seen" not in each.flags), None)
        lines = [b"* %d EXISTS" % len(messages), b"* 0 RECENT", b"* FLAGS (%s)" % _FLAGS]
        lines.append(b"* OK [PERMANENTFLAGS (%s)] Permanent flags" % lasting)
        if unseen:
            lines.append(b"* OK [UNSEEN %d] Is the first unseen message" % unseen)
        lines.append(b"* OK [UIDVALIDITY %d] UIDVALIDITY value" % folder.uidvalidity)
        lines.append(b"* OK [UIDNEXT %d] The next unique identifier value" % folder.uid_next)
        access = b"READ-ONLY" if self.selected.read_only else b"READ-WRITE"
        lines.append(b"%s OK [%s] %s completed." % (tag, access, command.encode()))
        self.write(b"\r\n".join(lines) + b"\r\n")

    def path(self, name: bytes) -> str | None:
        """The folder that a client names, or None."""
        path = stored_path(name)
        shown = visible_folders(self.store, self.address or "")
        return path if any(each.path == path for each in shown) else None

    def no_such_folder(self, tag: bytes, name: bytes) -> None:
        """Refuse a folder."""
        self.sendLine(b"%s NO %s doesn't exist." % (tag, name))

    def _look(self, path: str) -> tuple[Any, list[Message]]:
        """The folder and its messages at one moment; the messages stay as they are."""
        store, address = self.store, self.address or ""
        return store.snapshot(
            lambda: (copy(store.folder(address, path)), [copy(each) for each in store.listing(address, path)])
        )

    def do_unselect(self, tag: bytes, command: str) -> None:
        if command == "CLOSE" and self.selected and not self.selected.read_only:
            self.expunge_deleted(b"1:*", uid=1)
        self.selected, self.state = None, "auth"
        self.done(tag, command)

    def refresh(self) -> None:
        """Tell what has come and gone in the open folder (RFC 3501, 7.3 and 7.4)."""
        if self.selected is None:
            return
        try:
            _, messages = self._look(self.selected.path)
        except StoreError:
            return
        present = {each.uid for each in messages}
        before = self.selected.uids
        for place in range(len(before), 0, -1):
            if before[place - 1] not in present:
                self.sendLine(b"* %d EXPUNGE" % place)
        if messages and messages[-1].uid > (before[-1] if before else 0):
            self.sendLine(b"* %d EXISTS" % len(messages))
        self.selected.messages, self.selected.uids = messages, [each.uid for each in messages]

    def do_noop(self, tag: bytes, command: str) -> None:
        self.refresh()
        self.done(tag, command)

    def do_idle(self, tag: bytes) -> None:
        self.sendLine(b"+ IDLE accepted, awaiting DONE command.")
        self._idle_tag = tag
        self.parseState = "idle"
        self._idle = self.callLater(_IDLE_LOOKS, self._look_while_idle)

    def _look_while_idle(self) -> None:
        self._idle = None
        if self._is_over(self._idle_tag, "IDLE"):
            return
        self.refresh()
        self._idle = self.callLater(_IDLE_LOOKS, self._look_while_idle)

    def parse_idle(self, line: bytes) -> None:
        """DONE, in whatever words."""
        self._end_idle()
        self.parseState = "command"
        if line.strip().upper() == b"DONE":
            self.done(self._idle_tag, "IDLE")
        else:
            self.tell(self._idle_tag, "BAD", _BAD_ARGUMENT)

    def _end_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def do_logout(self, tag: bytes) -> None:
        self.sendLine(b"* BYE Microsoft Exchange Server IMAP4 server signing off.")
        self.done(tag, "LOGOUT")
        self.transport.loseConnection()

    # Messages

    def do_uid(self, tag: bytes, line: bytes) -> None:
        command, _, rest = line.partition(b" ")
        if command.upper() not in (b"COPY", b"EXPUNGE", b"FETCH", b"MOVE", b"SEARCH", b"STORE"):
            raise IllegalClientResponse("no UID form")
        self.dispatchCommand(tag, command, rest, uid=1)

    def chosen(self, ids: bytes, uid: int) -> list[int]:
        """Positions in the open folder."""
        assert self.selected is not None
        known = self.selected.uids if uid else range(1, len(self.selected.uids) + 1)
        ranges: Ranges = sequence_set(ids, known[-1] if known else 0)
        return positions(ranges, known)

    def do_search(self, tag: bytes, _: bytes | None, query: list[object], uid: int = 0) -> None:
        assert self.selected is not None
        found = Search(self.tenancy, self.selected.messages).find(query)
        shown = [self.selected.uids[place] if uid else place + 1 for place in found]
        self.sendLine(b" ".join([b"* SEARCH", *(b"%d" % each for each in shown)]))
        self.done(tag, "SEARCH")

    def do_fetch(self, tag: bytes, ids: bytes, items: list[Any], uid: int = 0) -> None:
        self.run(self._fetch(tag, self.chosen(ids, uid), items, bool(uid)))

    async def _fetch(self, tag: bytes, places: list[int], items: list[Any], uid: bool) -> None:
        self.setTimeout(None)
        failure = await self._stream_messages(tag, places, items, uid)
        self.setTimeout(self.timeOut)
        if not failure:
            self.done(tag, "FETCH")

    async def _stream_messages(self, tag: bytes, places: list[int], items: list[Any], uid: bool) -> bool:
        """Send the messages; whether a fault ended the command before its end."""
        assert self.selected is not None
        messages, seen = self.selected.messages, marks_seen(items) and not self.selected.read_only
        name, waited = "FETCH" if asks_content(items) else "FETCH.INFO", False
        async with self.streaming() as send:
            for place in places:
                message = messages[place]
                fault = self.fault(name, message.uid)
                if fault and fault.kind is FaultKind.DELAY:
                    if fault.uid is not None or not waited:
                        await self.pause(fault.seconds)
                    waited, fault = True, None
                elif fault and self._misbehave(tag, fault):
                    return True
                if fault and fault.kind is FaultKind.EMPTY:
                    continue
                if seen:
                    self.mark_seen(message)
                instead = as_fault_shows(fault, "IMAP4", self.store, message)
                for piece in answer(self.tenancy, place + 1, message, items, uid=uid, instead=instead):
                    await send(piece)
        return False

    def lookupCommand(self, cmd: bytes) -> tuple[Any, ...] | None:  # noqa: N802 - Twisted's name
        return _COMMANDS[self.state].get(cmd.upper().decode("latin-1"))


_D = ImapDoor
_ALWAYS: dict[str, tuple[Any, ...]] = {
    "CAPABILITY": (_D.do_capability,),
    "ID": (_D.do_id, _D.opt_line),
    "LOGOUT": (_D.do_logout,),
    "NOOP": (_D.do_noop, "NOOP"),
}
_SIGNED_IN: dict[str, tuple[Any, ...]] = {
    **_ALWAYS,
    "APPEND": (_D.do_append, _D.arg_astring, _D.opt_plist, _D.opt_datetime, _D.arg_mime),
    "CREATE": (_D.do_create, _D.arg_astring),
    "DELETE": (_D.do_delete, _D.arg_astring),
    "EXAMINE": (_D.do_select, _D.arg_astring, "EXAMINE"),
    "IDLE": (_D.do_idle,),
    "LIST": (_D.do_list, _D.arg_astring, _D.arg_astring, "LIST"),
    "LSUB": (_D.do_list, _D.arg_astring, _D.arg_astring, "LSUB"),
    "NAMESPACE": (_D.do_namespace,),
    "RENAME": (_D.do_rename, _D.arg_astring, _D.arg_astring),
    "SELECT": (_D.do_select, _D.arg_astring, "SELECT"),
    "STATUS": (_D.do_status, _D.arg_astring, _D.arg_plist),
    "SUBSCRIBE": (_D.do_subscribe, _D.arg_astring, "SUBSCRIBE"),
    "UNSUBSCRIBE": (_D.do_subscribe, _D.arg_astring, "UNSUBSCRIBE"),
}
_COMMANDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "unauth": {
        **_ALWAYS,
        "AUTHENTICATE": (_D.do_authenticate, _D.opt_line),
        "LOGIN": (_D.do_login, _D.opt_line),
    },
    "auth": _SIGNED_IN,
    "select": {
        **_SIGNED_IN,
        "CHECK": (_D.do_noop, "CHECK"),
        "CLOSE": (_D.do_unselect, "CLOSE"),
        "COPY": (_D.do_copy, _D.arg_set, _D.arg_astring, "COPY"),
        "EXPUNGE": (_D.do_expunge, _D.opt_line),
        "FETCH": (_D.do_fetch, _D.arg_set, _D.arg_items),
        "MOVE": (_D.do_copy, _D.arg_set, _D.arg_astring, "MOVE"),
        "SEARCH": (_D.do_search, _D.opt_charset, _D.arg_search),
        "STORE": (_D.do_store, _D.arg_set, _D.opt_line),
        "UID": (_D.do_uid, _D.opt_line),
        "UNSELECT": (_D.do_unselect, "UNSELECT"),
    },
}
"""By state and command: what answers, and what reads its arguments (Twisted's table form)."""
