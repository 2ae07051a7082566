# mypy: disallow-untyped-calls=False
"""The IMAP door: its table of commands, and those that change the mailbox.

These are done as on Exchange, and each one is noted in the store: that note is what
"read-only" is judged by, so it is taken before anything is looked at. Sources: RFC 3501,
RFC 4315 (UIDPLUS), RFC 6851 (MOVE).
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from twisted.mail.imap4 import IllegalClientResponse

from pipelines.sandbox.imap_fetch import FLAG_NAMES, shown_flags
from pipelines.sandbox.imap_folders import stored_path
from pipelines.sandbox.imap_reading import ImapReading
from pipelines.sandbox.store import Message, StoreError

_DATE = "%d-%b-%Y %H:%M:%S %z"


class ImapDoor(ImapReading):
    """One IMAP session.

    Faults name commands as on the wire, without ``UID``; a sign-in is ``LOGIN``. ``FETCH`` is a
    fetch of content, looked up message by message; a fetch of anything else is ``FETCH.INFO``.
    """

    def lookupCommand(self, cmd: bytes) -> tuple[Any, ...] | None:  # noqa: N802 - Twisted's name
        return _COMMANDS[self.state].get(cmd.upper().decode("latin-1"))

    def attempt(self, tag: bytes, command: str, change: Callable[[], object]) -> None:
        """Do it, or say that it cannot be done."""
        try:
            change()
        except StoreError:
            self.tell(tag, "NO", f"{command} failed.")
        else:
            self.done(tag, command)

    def open_messages(self, ids: bytes, uid: int) -> list[tuple[int, Message]]:
        """Sequence numbers and messages, none in a folder opened read-only."""
        assert self.selected is not None
        if self.selected.read_only:
            raise StoreError("opened with EXAMINE")
        return [(place + 1, self.selected.messages[place]) for place in self.chosen(ids, uid)]

    def do_store(self, tag: bytes, ids: bytes, line: bytes, uid: int = 0) -> None:
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
                self.set_flags(message, kept)
                if b"SILENT" not in mode.upper():
                    told = b" UID %d" % message.uid if uid else b""
                    self.sendLine(b"* %d FETCH (FLAGS (%s)%s)" % (number, shown_flags(message), told))

        self.attempt(tag, "STORE", change)

    def do_copy(self, tag: bytes, ids: bytes, name: bytes, command: str, uid: int = 0) -> None:
        self.note(command, ids + b" " + name)
        act: Any = self.store.move if command == "MOVE" else self.store.copy

        def change() -> None:
            assert self.selected is not None
            for _, message in self.open_messages(ids, uid):
                act(self.address, self.selected.path, message.uid, stored_path(name))
            if command == "MOVE":
                self.refresh()

        self.attempt(tag, command, change)

    def do_expunge(self, tag: bytes, ids: bytes, uid: int = 0) -> None:
        self.note("EXPUNGE", ids)
        self.attempt(tag, "EXPUNGE", lambda: self.expunge_deleted(ids if uid else b"1:*", uid=1))

    def expunge_deleted(self, ids: bytes, *, uid: int) -> None:
        """Remove what is marked as deleted."""
        assert self.selected is not None
        for _, message in self.open_messages(ids, uid):
            if "deleted" in message.flags:
                self.store.delete(self.address or "", self.selected.path, message.uid)
        self.refresh()

    def do_append(self, tag: bytes, name: bytes, flags: Any, date: bytes | None, mime: bytes) -> None:
        self.note("APPEND", name)
        named = {FLAG_NAMES.get(each.decode("latin-1").lower()) for each in flags or []}

        received = _instant(date) if date else None

        def change() -> None:
            kept = frozenset(each for each in named if each)
            self.store.deliver(self.address or "", stored_path(name), mime, received, kept)

        self.attempt(tag, "APPEND", change)

    def do_create(self, tag: bytes, name: bytes) -> None:
        self.note("CREATE", name)
        path = stored_path(name.rstrip(b"/"))
        self.attempt(tag, "CREATE", lambda: self.store.create_folder(self.address or "", path))

    def do_delete(self, tag: bytes, name: bytes) -> None:
        self.note("DELETE", name)
        self.attempt(tag, "DELETE", lambda: self.store.delete_folder(self.address or "", stored_path(name)))

    def do_rename(self, tag: bytes, name: bytes, new_name: bytes) -> None:
        self.note("RENAME", name + b" " + new_name)
        old, new = stored_path(name), stored_path(new_name)
        self.attempt(tag, "RENAME", lambda: self.store.rename_folder(self.address or "", old, new))

    def do_subscribe(self, tag: bytes, name: bytes, command: str) -> None:
        self.note(command, name)
        self.done(tag, command)

    def do_unselect(self, tag: bytes, command: str) -> None:
        if command == "CLOSE" and self.selected and not self.selected.read_only:
            self.expunge_deleted(b"1:*", uid=1)
        self.selected, self.state = None, "auth"
        self.done(tag, command)


def _instant(date: bytes) -> datetime:
    try:
        return datetime.strptime(date.decode("ascii").strip(), _DATE)  # noqa: DTZ007 - the zone is in it
    except ValueError:
        raise IllegalClientResponse("bad date") from None


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
