"""What every source of messages offers, whatever protocol it speaks.

A round walks one folder: ``changes`` yields pages of entries, ``identify`` adds what a
listing can tell of a message without its body, ``fetch`` brings the bytes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from pipelines.mime.record import Identity

__all__ = [
    "Entry",
    "FetchFailed",
    "Fetched",
    "Folder",
    "Identity",
    "Page",
    "ProtocolName",
    "Reset",
    "Role",
    "Source",
]


class ProtocolName(StrEnum):
    """How messages reached the lake. ``imap`` and ``pop3`` are the legacy ones."""

    IMAP = "imap"
    POP3 = "pop3"
    GRAPH = "graph"
    ARCHIVE = "archive"


class Role(StrEnum):
    """What a folder is for, whatever its name in the mailbox's language."""

    INBOX = "inbox"
    SENT = "sent"
    DRAFTS = "drafts"
    TRASH = "trash"
    JUNK = "junk"
    ARCHIVE = "archive"
    OUTBOX = "outbox"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Folder:
    """A mail folder as one protocol shows it."""

    path: str
    """Unicode, levels separated by ``/``; the inbox is ``Inbox`` for every protocol."""
    role: Role
    native: str
    """What the protocol calls it: the IMAP name as decoded by imapclient, Graph's folder id."""
    skipped: str | None = None
    """Why the folder is outside ingestion (``non-mail``, ``search folder`` …), or None."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message in a listing."""

    native_id: str
    """``<uidvalidity>:<uid>``, UIDL, Graph immutable id, or the digest of an archived message."""
    size: int | None = None
    """Bytes as the listing has them: an estimate on Exchange (facts: RFC822.SIZE)."""
    received_at: datetime | None = None
    """UTC: INTERNALDATE, receivedDateTime."""
    flags: tuple[str, ...] = ()
    """IMAP system flags in lower case without the backslash (``seen``, ``flagged``), keywords as they are."""
    identity: Identity | None = None
    """Where the listing itself brings it (Graph); else asked for with ``identify``."""
    content_mark: str | None = None
    """Another value as soon as the listing shows other content under the same id (an edit seen by Graph).
    None where an id's content never changes: IMAP and POP3 give an edited message a new id."""
    modified_at: datetime | None = None
    """UTC: when the server last changed anything of the message, flags included, where it tells (Graph)."""
    received_by_server: bool = True
    """Whether ``received_at`` is the server's own word; an archive's files only let it be inferred."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, and the cursor that is right once each of them is accounted for."""

    entries: Sequence[Entry]
    cursor: str
    removed: frozenset[str] = frozenset()
    """Ids that the protocol reports as no longer in this folder: no proof that the message is gone."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The cursor no longer holds: what follows is the folder from its beginning."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """The message as the server delivered it."""

    entry: Entry
    mime: bytes


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A message that was listed and could not be had."""

    entry: Entry
    reason: str
    """A short stable word: ``empty-answer``, ``placeholder``, ``conversion-failed`` …"""
    detail: str
    """One sentence for a person; never message content."""
    gone: bool = False
    """The server, asked again, no longer lists it."""
    fallback: bytes | None = None
    """What the server offered instead, kept beside the quarantine entry."""
    fidelity: str | None = None
    """How ``fallback`` was made, such as ``graph-json``, where it is MIME that can stand for the message
    once a person accepts it; None for what cannot (a placeholder mail)."""


class Source(Protocol):
    """One protocol, one mailbox.

    Errors are those of ``pipelines.errors``; transient faults are retried inside.
    """

    protocol: ProtocolName
    ids_follow_moves: bool
    """Whether a native id keeps naming its message in whatever folder (Graph's immutable ids)."""

    def folders(self) -> list[Folder]:
        """Every folder the protocol shows, those outside ingestion with ``skipped`` set."""
        ...

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        """Walk ``folder`` from ``cursor`` (None: from the beginning), oldest cursor position first.

        Nothing is asked before the first page is taken, so that a source that is called for several
        folders first can ask about them together.
        """
        ...

    def window(self, folder: Folder, since: datetime, before: datetime) -> Iterator[Sequence[Entry]]:
        """Pages of what was received from ``since`` up to, not at, ``before`` (UTC), newest first.

        No cursor is involved. Raises ``UsageError`` where the protocol knows no dates (POP3).
        """
        ...

    def identify(self, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:
        """The same entries, each with ``identity`` where the server tells it without the body."""
        ...

    def fetch(self, folder: Folder, entries: Sequence[Entry]) -> Iterator[Fetched | FetchFailed]:
        """Bring the messages, one by one: exactly one outcome per entry, in any order."""
        ...

    def native_ids(self, folder: Folder) -> set[str]:
        """Every id the server lists in the folder now (the id-only listing of a reconciliation)."""
        ...

    def count(self, folder: Folder) -> int:
        """How many messages the server itself says the folder holds."""
        ...

    def close(self) -> None:
        """Sign out; never raises."""
        ...
