# mypy: disallow-untyped-calls=False
"""Folders and messages over IMAP, read as Exchange Online shows them."""

from collections.abc import Iterable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.mail.imap4 import IllegalClientResponse

from pipelines.sandbox.faults import Door, FaultKind
from pipelines.sandbox.imap_fetch import answer, asks_content, marks_seen
from pipelines.sandbox.imap_folders import list_lines, status_line, stored_path, visible_folders
from pipelines.sandbox.imap_search import Search, positions, sequence_set
from pipelines.sandbox.imap_session import BAD_ARGUMENT, ImapSession
from pipelines.sandbox.mail_doors_mime import as_fault_shows
from pipelines.sandbox.store import Message, Store, StoreError

_FLAGS = rb"\Seen \Answered \Flagged \Deleted \Draft $MDNSent"
_IDLE_LOOKS = 0.5


@dataclass(slots=True)
class Selected:
    """A folder as it was when the client last looked: sequence numbers hold until it looks again."""

    path: str
    read_only: bool
    messages: list[Message]
    uids: list[int]


class ImapReading(ImapSession):
    """Everything a client that only reads needs."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.selected: Selected | None = None
        self._idle: Any = None

    @property
    def store(self) -> Store:
        """The mail store."""
        return self.tenancy.store

    def connectionLost(self, reason: Any = connectionDone) -> None:  # noqa: N802 - Twisted's name
        self._end_idle()
        super().connectionLost(reason)

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
            lambda: (
                copy(store.folder(address, path)),
                [copy(each) for each in store.listing(address, path, Door.IMAP)],
            )
        )

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
        if self.is_over(self._idle_tag, "IDLE"):
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
            self.tell(self._idle_tag, "BAD", BAD_ARGUMENT)

    def _end_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

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
        ranges = sequence_set(ids, known[-1] if known else 0)
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
        patience = self.setTimeout(None)
        failure = await self._stream_messages(tag, places, items, uid)
        self.setTimeout(patience)
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
                elif fault and self.misbehave(tag, fault):
                    return True
                if fault and fault.kind is FaultKind.EMPTY:
                    continue
                if seen:
                    self.mark_seen(message)
                instead = as_fault_shows(fault, "IMAP4", self.store, message)
                for piece in answer(self.tenancy, place + 1, message, items, uid=uid, instead=instead):
                    await send(piece)
        return False

    def note(self, command: str, detail: bytes = b"") -> None:
        """Note the attempt."""
        told = f"{command} {detail.decode('latin-1')}".strip()
        self.store.attempted("imap", self.address or "", told)

    def mark_seen(self, message: Message) -> None:
        """A fetch without PEEK."""
        self.note("FETCH BODY[]", b"%d" % message.uid)
        with suppress(StoreError):
            self.set_flags(message, message.flags | {"seen"})

    def set_flags(self, message: Message, flags: Iterable[str]) -> None:
        """Replace a message's flags."""
        assert self.selected is not None
        message.flags = set(flags)
        self.store.set_flags(self.address or "", self.selected.path, message.uid, frozenset(flags))
