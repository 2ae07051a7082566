"""IMAP commands that change the mailbox: done as on Exchange, and each one noted in the store.

The note is what "read-only" is judged by, so it is taken before anything is looked at.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from twisted.mail.imap4 import IllegalClientResponse

from pipelines.sandbox.imap_fetch import FLAG_NAMES, shown_flags
from pipelines.sandbox.imap_folders import stored_path
from pipelines.sandbox.store import Message, StoreError

if TYPE_CHECKING:
    from pipelines.sandbox.imap_door import ImapDoor

_DATE = "%d-%b-%Y %H:%M:%S %z"


class ImapWriting:
    """Mixed into the door."""

    def note(self: "ImapDoor", command: str, detail: bytes = b"") -> None:
        """Note the attempt."""
        told = f"{command} {detail.decode('latin-1')}".strip()
        self.store.attempted("imap", self.address or "", told)

    def attempt(self: "ImapDoor", tag: bytes, command: str, change: Callable[[], None]) -> None:
        """Do it, or say that it cannot be done."""
        try:
            change()
        except StoreError:
            self.tell(tag, "NO", f"{command} failed.")
        else:
            self.done(tag, command)

    def open_messages(self: "ImapDoor", ids: bytes, uid: int) -> list[tuple[int, Message]]:
        """Sequence numbers and messages, none in a folder opened read-only."""
        assert self.selected is not None
        if self.selected.read_only:
            raise StoreError("opened with EXAMINE")
        return [(place + 1, self.selected.messages[place]) for place in self.chosen(ids, uid)]

    def mark_seen(self: "ImapDoor", message: Message) -> None:
        """A fetch without PEEK."""
        self.note("FETCH BODY[]", b"%d" % message.uid)
        self._set_flags(message, message.flags | {"seen"})

    def do_store(self: "ImapDoor", tag: bytes, ids: bytes, line: bytes, uid: int = 0) -> None:
        self.note("STORE", ids + b" " + line)
        mode, _, listed = line.partition(b" ")
        named = {FLAG_NAMES.get(each) for each in re.findall(r"[\\$\w]+", listed.decode("latin-1").lower())}
        flags = {each for each in named if each}

        def change() -> None:
            for number, message in self.open_messages(ids, uid):
                if mode.startswith(b"+"):
                    kept = message.flags | flags
                else:
                    kept = message.flags - flags if mode.startswith(b"-") else flags
                self._set_flags(message, kept)
                if b"SILENT" not in mode.upper():
                    told = b" UID %d" % message.uid if uid else b""
                    self.sendLine(b"* %d FETCH (FLAGS (%s)%s)" % (number, shown_flags(message), told))

        self.attempt(tag, "STORE", change)

    def _set_flags(self: "ImapDoor", message: Message, flags: Iterable[str]) -> None:
        assert self.selected is not None
        message.flags = set(flags)
        self.store.set_flags(self.address or "", self.selected.path, message.uid, frozenset(flags))

    def do_copy(self: "ImapDoor", tag: bytes, ids: bytes, name: bytes, command: str, uid: int = 0) -> None:
        self.note(command, ids + b" " + name)
        act: Any = self.store.move if command == "MOVE" else self.store.copy

        def change() -> None:
            assert self.selected is not None
            for _, message in self.open_messages(ids, uid):
                act(self.address, self.selected.path, message.uid, stored_path(name))
            if command == "MOVE":
                self.refresh()

        self.attempt(tag, command, change)

    def do_expunge(self: "ImapDoor", tag: bytes, ids: bytes, uid: int = 0) -> None:
        self.note("EXPUNGE", ids)
        self.attempt(tag, "EXPUNGE", lambda: self.expunge_deleted(ids if uid else b"1:*", uid=1))

    def expunge_deleted(self: "ImapDoor", ids: bytes, *, uid: int) -> None:
        """Remove what is marked as deleted."""
        assert self.selected is not None
        for _, message in self.open_messages(ids, uid):
            if "deleted" in message.flags:
                self.store.delete(self.address or "", self.selected.path, message.uid)
        self.refresh()

    def do_append(
        self: "ImapDoor", tag: bytes, name: bytes, flags: Any, date: bytes | None, mime: bytes
    ) -> None:
        self.note("APPEND", name)
        named = {FLAG_NAMES.get(each.decode("latin-1").lower()) for each in flags or []}

        received = _instant(date) if date else None

        def change() -> None:
            kept = frozenset(each for each in named if each)
            self.store.deliver(self.address or "", stored_path(name), mime, received, kept)

        self.attempt(tag, "APPEND", change)

    def do_create(self: "ImapDoor", tag: bytes, name: bytes) -> None:
        self.note("CREATE", name)
        path = stored_path(name.rstrip(b"/"))
        self.attempt(tag, "CREATE", lambda: self.store.create_folder(self.address or "", path) and None)

    def do_delete(self: "ImapDoor", tag: bytes, name: bytes) -> None:
        self.note("DELETE", name)
        self.attempt(tag, "DELETE", lambda: self.store.delete_folder(self.address or "", stored_path(name)))

    def do_rename(self: "ImapDoor", tag: bytes, name: bytes, new_name: bytes) -> None:
        self.note("RENAME", name + b" " + new_name)
        old, new = stored_path(name), stored_path(new_name)
        self.attempt(tag, "RENAME", lambda: self.store.rename_folder(self.address or "", old, new))

    def do_subscribe(self: "ImapDoor", tag: bytes, name: bytes, command: str) -> None:
        self.note(command, name)
        self.done(tag, command)


def _instant(date: bytes) -> datetime:
    try:
        return datetime.strptime(date.decode("ascii").strip(), _DATE)  # noqa: DTZ007 - the zone is in it
    except ValueError:
        raise IllegalClientResponse("bad date") from None
