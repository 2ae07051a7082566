"""One mail store behind several doors.

As in Exchange Online, every protocol shows the same mailbox its own way: IMAP by folder,
UIDVALIDITY and UID, POP3 by UIDL, Graph by ids and a log of changes. Bytes lie in one
file on disk, so that tens of thousands of messages cost little memory.
"""

import hashlib
import os
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from pathlib import Path
from random import Random, SystemRandom
from typing import Final, TypeVar

_CHANCE: Final = SystemRandom()

# What ids of a kind begin with, and their size in bytes: as long as Exchange's, which end in "=".
_MUTABLE: Final = (b"\0\x03\x24", 113)
_IMMUTABLE: Final = (b"\0\x09\0", 53)
_FOLDER: Final = (b"\0\x03\x24", 89)


class StoreError(Exception):
    """The operation names something that is not there, or may not be done."""


class ChangeKind(StrEnum):
    """What happened to a message, as a folder's change log tells it."""

    CREATED = "created"
    MOVED_IN = "moved in"
    UPDATED = "updated"
    MARKED = "marked"
    """Flags only."""
    REMOVED = "removed"


@dataclass(slots=True)
class Change:
    """One entry of a folder's change log; ``number`` grows over the whole store."""

    number: int
    kind: ChangeKind
    immutable_id: str
    mutable_id: str
    flags: frozenset[str] = frozenset()
    """The flags that changed, where nothing else did."""


@dataclass(slots=True)
class Message:
    """A message in a folder. A move keeps ``immutable_id`` and changes everything else that names it."""

    immutable_id: str
    mutable_id: str
    uid: int
    uidl: str
    received_at: datetime
    flags: set[str]
    size: int
    offset: int
    sha256: str
    modified_at: datetime
    change_key: int = 0
    """Grows with every change of the message."""
    hidden_from: frozenset[str] = frozenset()
    """Doors that do not show it."""


@dataclass(slots=True)
class Folder:
    """A folder of a mailbox; ``path`` has its levels separated by ``/``."""

    folder_id: str
    path: str
    role: str
    hidden: bool = False
    search: bool = False
    """A search folder: shows messages of other folders, holds none."""
    item_class: str = "IPF.Note"
    """``IPF.Appointment``, ``IPF.Contact`` … for folders that hold no mail."""
    uidvalidity: int = 1
    uid_next: int = 1
    messages: dict[int, Message] = field(default_factory=dict)
    """By UID, in UID order."""
    changes: list[Change] = field(default_factory=list)

    @property
    def holds_mail(self) -> bool:
        """Whether Graph's mail folders would list it."""
        return self.item_class == "IPF.Note"

    @property
    def shows_mail(self) -> bool:
        """Whether a reader is expected to read it: it holds mail, and is not hidden."""
        return self.holds_mail and not self.hidden


@dataclass(slots=True)
class Mailbox:
    """One address of the tenant."""

    address: str
    root_id: str
    """What Graph knows the folder above the topmost ones by."""
    granted: bool = True
    """Whether the application may read it."""
    folders: dict[str, Folder] = field(default_factory=dict)
    """By path."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something a client tried that writes, or could: what ``read-only`` is judged by."""

    door: str
    mailbox: str
    command: str


Result = TypeVar("Result")


class Store:
    """Mailboxes, folders and messages of a tenant; safe to share between threads."""

    def __init__(
        self,
        directory: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Random = _CHANCE,
    ) -> None:
        """``directory`` is made and holds the bytes; ``now`` is the clock, ``chance`` draws the ids."""
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / "mail.blob", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._blob = descriptor
        self._end = 0
        self._now = now
        self._chance = chance
        self._lock = threading.RLock()
        self.latest_change = 0
        """The number of the latest change of any folder."""
        self._uidvalidities = count(int(now().timestamp()))
        self._mailboxes: dict[str, Mailbox] = {}
        self._places: dict[str, tuple[Folder, Message]] = {}
        """Messages by both of their ids."""
        self.attempts: list[Attempt] = []

    def close(self) -> None:
        """Give back the file."""
        os.close(self._blob)

    # Looking

    def mailboxes(self) -> list[Mailbox]:
        """Every mailbox of the tenant."""
        with self._lock:
            return list(self._mailboxes.values())

    def mailbox(self, address: str) -> Mailbox:
        """A mailbox by its address. Raises ``StoreError``."""
        found = self._mailboxes.get(address.lower())
        if found is None:
            raise StoreError(f"no mailbox {address}")
        return found

    def folder(self, address: str, path: str) -> Folder:
        """A folder by its path; ``inbox`` in any case is the Inbox. Raises ``StoreError``."""
        folders = self.mailbox(address).folders
        found = folders.get("Inbox" if path.lower() == "inbox" else path)
        if found is None:
            raise StoreError(f"no folder {path} in {address}")
        return found

    def snapshot(self, look: Callable[[], Result]) -> Result:
        """What ``look`` sees while nothing changes."""
        with self._lock:
            return look()

    def message(self, address: str, path: str, uid: int) -> Message:
        """A message by its UID. Raises ``StoreError``."""
        found = self.folder(address, path).messages.get(uid)
        if found is None:
            raise StoreError(f"no message {uid} in {path} of {address}")
        return found

    def find(self, address: str, message_id: str) -> tuple[Folder, Message]:
        """A message by its immutable or its mutable id, and where it lies. Raises ``StoreError``."""
        with self._lock:
            folder, message = self._places.get(message_id, (None, None))
            if (
                folder is None
                or message is None
                or self.mailbox(address).folders.get(folder.path) is not folder
            ):
                raise StoreError(f"no message of this id in {address}")
            return folder, message

    def listing(self, address: str, path: str, door: str = "") -> list[Message]:
        """The messages of a folder in UID order, as they are now; only those that ``door`` shows."""
        with self._lock:
            messages = self.folder(address, path).messages.values()
            return [each for each in messages if door not in each.hidden_from]

    def read(self, message: Message) -> bytes:
        """A message's bytes."""
        with self._lock:
            # An edit changes both.
            size, offset = message.size, message.offset
        return os.pread(self._blob, size, offset)

    def everything(self) -> Iterator[tuple[Mailbox, Folder, Message]]:
        """Every message with where it lies."""
        with self._lock:
            found = [
                (mailbox, folder, message)
                for mailbox in self._mailboxes.values()
                for folder in mailbox.folders.values()
                for message in folder.messages.values()
            ]
        yield from found

    def attempted(self, door: str, mailbox: str, command: str) -> None:
        """Note that a client tried to write."""
        with self._lock:
            self.attempts.append(Attempt(door, mailbox, command))

    # Changing

    def create_mailbox(self, address: str, *, granted: bool = True) -> Mailbox:
        """A new mailbox without folders."""
        with self._lock:
            new = Mailbox(address.lower(), self._new_id(_FOLDER))
            created = self._mailboxes.setdefault(new.address, new)
            created.granted = granted
            return created

    def create_folder(
        self,
        address: str,
        path: str,
        role: str = "other",
        *,
        hidden: bool = False,
        search: bool = False,
        item_class: str = "IPF.Note",
    ) -> Folder:
        """A new folder; its parents have to be there. Raises ``StoreError``."""
        with self._lock:
            folders = self.mailbox(address).folders
            parent = path.rpartition("/")[0]
            if path in folders or (parent and parent not in folders):
                raise StoreError(f"{path} is there already, or {parent} is not")
            folders[path] = Folder(
                self._new_id(_FOLDER), path, role, hidden, search, item_class, next(self._uidvalidities)
            )
            return folders[path]

    def rename_folder(self, address: str, path: str, new_path: str) -> None:
        """Give a folder and all below it another path; ids and messages stay. Raises ``StoreError``."""
        with self._lock:
            path = self.folder(address, path).path
            folders = self.mailbox(address).folders
            parent = new_path.rpartition("/")[0]
            if new_path in folders or f"{new_path}/".startswith(f"{path}/"):
                raise StoreError(f"{path} cannot become {new_path}")
            if parent and parent not in folders:
                raise StoreError(f"{new_path} needs {parent}")
            for old in [each for each in folders if each == path or each.startswith(f"{path}/")]:
                folder = folders.pop(old)
                folder.path = new_path + old.removeprefix(path)
                folders[folder.path] = folder

    def delete_folder(self, address: str, path: str) -> None:
        """Remove a folder with everything in and below it."""
        with self._lock:
            path = self.folder(address, path).path
            folders = self.mailbox(address).folders
            for old in [each for each in folders if each == path or each.startswith(f"{path}/")]:
                for message in folders.pop(old).messages.values():
                    del self._places[message.immutable_id], self._places[message.mutable_id]

    def deliver(
        self,
        address: str,
        path: str,
        mime: bytes,
        received_at: datetime | None = None,
        flags: frozenset[str] = frozenset(),
    ) -> Message:
        """A message comes in. Line ends become CRLF, as every mail server sends them."""
        mime = as_crlf(mime)
        with self._lock:
            folder = self.folder(address, path)
            os.pwrite(self._blob, mime, self._end)
            received_at = received_at or self._now()
            message = Message(
                self._new_id(_IMMUTABLE), self._new_id(_MUTABLE), 0, "", received_at, set(flags),
                len(mime), self._end, _sha256(mime), received_at,
            )  # fmt: skip
            self._end += len(mime)
            self._place(folder, message, ChangeKind.CREATED)
            return message

    def move(self, address: str, path: str, uid: int, to_path: str) -> Message:
        """Move a message: the immutable id stays, UID, UIDL and mutable id are new."""
        with self._lock:
            target = self.folder(address, to_path)
            message = self._take(self.folder(address, path), uid)
            message.mutable_id = self._new_id(_MUTABLE)
            self._place(target, message, ChangeKind.MOVED_IN)
            message.modified_at = self._now()
            return message

    def copy(self, address: str, path: str, uid: int, to_path: str) -> Message:
        """Copy a message: the copy has ids of its own and shares the bytes."""
        with self._lock:
            target, original = self.folder(address, to_path), self.message(address, path, uid)
            message = Message(
                self._new_id(_IMMUTABLE), self._new_id(_MUTABLE), 0, "",
                original.received_at, set(original.flags),
                original.size, original.offset, original.sha256, self._now(),
            )  # fmt: skip
            self._place(target, message, ChangeKind.CREATED)
            return message

    def delete(self, address: str, path: str, uid: int) -> None:
        """Remove a message for good."""
        with self._lock:
            self._take(self.folder(address, path), uid)

    def set_flags(self, address: str, path: str, uid: int, flags: frozenset[str]) -> None:
        """Replace a message's flags."""
        with self._lock:
            message = self.message(address, path, uid)
            changed = message.flags ^ flags
            message.flags = set(flags)
            message.modified_at = self._now()
            self._log(self.folder(address, path), ChangeKind.MARKED, message, frozenset(changed))

    def edit(self, address: str, path: str, uid: int, mime: bytes) -> Message:
        """Change a message's content: the ids Graph knows stay, UID and UIDL are new."""
        mime = as_crlf(mime)
        with self._lock:
            folder = self.folder(address, path)
            message = self.message(address, path, uid)
            os.pwrite(self._blob, mime, self._end)
            message.size, message.offset, message.sha256 = len(mime), self._end, _sha256(mime)
            self._end += len(mime)
            del folder.messages[uid]
            self._number(folder, message)
            message.modified_at = self._now()
            self._log(folder, ChangeKind.UPDATED, message)
            return message

    def hide(self, address: str, path: str, uid: int, door: str, *, hidden: bool = True) -> Message:
        """Let one door not show a message that the others do, or show it again. Raises ``StoreError``.

        A door does not say that it hides something. What it shows again it tells as a change.
        """
        with self._lock:
            message = self.message(address, path, uid)
            if hidden:
                message.hidden_from |= {door}
            elif door in message.hidden_from:
                message.hidden_from -= {door}
                self._log(self.folder(address, path), ChangeKind.UPDATED, message)
            return message

    def reset_uidvalidity(self, address: str, path: str) -> None:
        """Number a folder's messages anew, as after a restore."""
        with self._lock:
            folder = self.folder(address, path)
            messages = list(folder.messages.values())
            folder.messages, folder.uid_next = {}, 1
            folder.uidvalidity = max(next(self._uidvalidities), folder.uidvalidity + 1)
            for message in messages:
                self._number(folder, message)

    def _take(self, folder: Folder, uid: int) -> Message:
        message = folder.messages.pop(uid, None)
        if message is None:
            raise StoreError(f"no message {uid} in {folder.path}")
        self._log(folder, ChangeKind.REMOVED, message)
        del self._places[message.immutable_id], self._places[message.mutable_id]
        return message

    def _place(self, folder: Folder, message: Message, how: ChangeKind) -> None:
        self._number(folder, message)
        self._places[message.immutable_id] = self._places[message.mutable_id] = (folder, message)
        self._log(folder, how, message)

    def _number(self, folder: Folder, message: Message) -> None:
        message.uid = folder.uid_next
        message.uidl = urlsafe_b64encode(self._chance.randbytes(18)).decode()
        folder.uid_next += 1
        folder.messages[message.uid] = message

    def _new_id(self, kind: tuple[bytes, int]) -> str:
        start, size = kind
        return urlsafe_b64encode(start + self._chance.randbytes(size - len(start))).decode()

    def _log(
        self, folder: Folder, kind: ChangeKind, message: Message, flags: frozenset[str] = frozenset()
    ) -> None:
        message.change_key += 1
        self.latest_change += 1
        folder.changes.append(
            Change(self.latest_change, kind, message.immutable_id, message.mutable_id, flags)
        )


def as_crlf(mime: bytes) -> bytes:
    """The message with every bare line feed or carriage return made CRLF, and a CRLF at its end."""
    if b"\n" in mime.replace(b"\r\n", b"") or b"\r" in mime.replace(b"\r\n", b""):
        mime = mime.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return mime if mime.endswith(b"\r\n") else mime + b"\r\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
