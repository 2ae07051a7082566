"""Quarantine: messages that a server listed and that could not be had, kept until they are."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from pipelines.index.engine import Index
from pipelines.index.lease import Lease, renew
from pipelines.index.lookup import chunks
from pipelines.index.tables import folders, mailboxes, quarantine

LAST_RETRY = timedelta(days=1)
"""So far apart the attempts for a message become at last."""
_ID_DIGITS = 12


class State(StrEnum):
    """How an entry of the quarantine stands."""

    OPEN = "open"
    """Not had yet; tried again, further and further apart."""
    ACCEPTED = "accepted"
    """A person took the form that the server offers instead; tried again once a day."""
    RESOLVED = "resolved"
    """The message came and is stored."""
    GONE = "gone"
    """The server lists it no more."""


ALL_STATES = tuple(State)
WAITING = (State.OPEN, State.ACCEPTED)
"""Those in which the server is still asked for the message."""

_ENTRIES = (
    sa.select(
        quarantine,
        mailboxes.c.address,
        folders.c.protocol,
        folders.c.path,
        folders.c.native,
        folders.c.role,
        folders.c.skipped,
    )
    .join(mailboxes, mailboxes.c.id == quarantine.c.mailbox_id)
    .join(folders, folders.c.id == quarantine.c.folder_id)
    .order_by(mailboxes.c.address, folders.c.path, quarantine.c.first_at, quarantine.c.id)
)
_DUE = _ENTRIES.where(
    quarantine.c.folder_id == sa.bindparam("in_folder"),
    quarantine.c.state.in_(WAITING),
    quarantine.c.next_at <= sa.bindparam("now"),
)


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """One message in quarantine, as the index keeps it."""

    entry_id: str
    """Names it on the command line; the same after the index was rebuilt."""
    row_id: int
    mailbox: str
    protocol: str
    folder: str
    """Its path."""
    folder_id: int
    role: str
    """Of the folder."""
    native_id: str
    message_id: str | None
    """As the listing told it, where it did."""
    reason: str
    detail: str
    state: State
    attempts: int
    first_seen: datetime
    last_seen: datetime
    """When it was last asked for, or settled."""
    next_attempt: datetime | None
    """None where none will come by itself: settled, its folder not read, or from an import."""
    fallback_sha256: str | None
    """Digest of what the server offered instead, where that is kept."""
    fidelity: str | None
    """How that was made, where it can stand for the message."""
    size: int | None
    """Bytes, as the listing had them."""
    received_at: datetime | None
    flags: tuple[str, ...]
    content_mark: str | None
    accepted_by: str | None
    accepted_at: datetime | None
    accepted_reason: str | None

    def to_json(self) -> dict[str, Any]:
        """The entry as ``--json`` prints it."""
        return {
            "id": self.entry_id,
            "mailbox": self.mailbox,
            "protocol": self.protocol,
            "folder": self.folder,
            "native_id": self.native_id,
            "message_id": self.message_id,
            "reason": self.reason,
            "detail": self.detail,
            "state": self.state.value,
            "attempts": self.attempts,
            "first_seen": self.first_seen.isoformat(),
            "last_seen": self.last_seen.isoformat(),
            "next_attempt": self.next_attempt and self.next_attempt.isoformat(),
            "fallback": self.fallback_sha256 is not None,
            "fallback_sha256": self.fallback_sha256,
            "fidelity": self.fidelity,
            "size": self.size,
            "received_at": self.received_at and self.received_at.isoformat(),
            "accepted_by": self.accepted_by,
            "accepted_at": self.accepted_at and self.accepted_at.isoformat(),
            "accepted_reason": self.accepted_reason,
        }


def entries(
    connection: sa.Connection,
    addresses: Sequence[str],
    *,
    states: Collection[State] = (State.OPEN,),
    folder: str | None = None,
    reason: str | None = None,
) -> list[QuarantineEntry]:
    """What stands in quarantine in these mailboxes, by mailbox, folder and age.

    ``folder`` is a path; it and ``reason`` have to be met exactly.
    """
    query = _ENTRIES.where(quarantine.c.state.in_(states))
    if folder is not None:
        query = query.where(folders.c.path == folder)
    if reason is not None:
        query = query.where(quarantine.c.reason == reason)
    found: list[QuarantineEntry] = []
    for some in chunks(sorted(addresses)):
        found += map(_entry, connection.execute(query.where(mailboxes.c.address.in_(some))))
    return found


def due_for_retry(connection: sa.Connection, folder_id: int, now: datetime) -> list[QuarantineEntry]:
    """Entries of the folder whose next attempt is due."""
    return [_entry(row) for row in connection.execute(_DUE, {"in_folder": folder_id, "now": now})]


@dataclass(frozen=True, slots=True)
class Total:
    """What stands open in a mailbox's quarantine for one reason."""

    reason: str
    count: int
    oldest: datetime


def quarantine_totals(connection: sa.Connection, mailbox_id: int | None = None) -> dict[int, list[Total]]:
    """What stands open, by mailbox row and reason; of one mailbox only, where it is given."""
    query = (
        sa.select(
            quarantine.c.mailbox_id,
            quarantine.c.reason,
            sa.func.count(),
            sa.func.min(quarantine.c.first_at),
        )
        .where(quarantine.c.state == State.OPEN)
        .group_by(quarantine.c.mailbox_id, quarantine.c.reason)
        .order_by(quarantine.c.reason)
    )
    if mailbox_id is not None:
        query = query.where(quarantine.c.mailbox_id == mailbox_id)
    found: dict[int, list[Total]] = {}
    for row_id, *total in connection.execute(query):
        found.setdefault(row_id, []).append(Total(*total))
    return found


def make_due(index: Index, lease: Lease, row_ids: Sequence[int], now: datetime) -> None:
    """Let the mailbox's next pass ask for these entries again; nothing else of them changes."""
    with index.write() as connection:
        renew(connection, lease, now)
        for some in chunks(row_ids):
            connection.execute(
                sa.update(quarantine)
                .where(quarantine.c.id.in_(some), quarantine.c.state.in_(WAITING))
                .values(next_at=now)
            )
    lease.commits += 1


def _entry(row: sa.Row[Any]) -> QuarantineEntry:
    # Mail files are read when somebody imports them, never by themselves.
    awaited = row.state in WAITING and not row.skipped and row.protocol != "archive"
    return QuarantineEntry(
        entry_id=_entry_id(row.address, row.protocol, row.native, row.native_id),
        row_id=row.id,
        mailbox=row.address,
        protocol=row.protocol,
        folder=row.path,
        folder_id=row.folder_id,
        role=row.role,
        native_id=row.native_id,
        message_id=row.message_id,
        reason=row.reason,
        detail=row.detail,
        state=State(row.state),
        attempts=row.attempts,
        first_seen=row.first_at,
        last_seen=row.last_at,
        next_attempt=row.next_at if awaited else None,
        fallback_sha256=row.fallback_sha256,
        fidelity=row.fidelity,
        size=row.listed_size,
        received_at=row.received_at,
        flags=tuple(row.flags.split()),
        content_mark=row.content_mark,
        accepted_by=row.accepted_by,
        accepted_at=row.accepted_at,
        accepted_reason=row.accepted_reason,
    )


def _entry_id(*names: str) -> str:
    # Row numbers would do until the index is rebuilt and they name other messages.
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:_ID_DIGITS]
