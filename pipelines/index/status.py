"""Where each mailbox stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipelines.index.engine import Index
from pipelines.index.lease import holder_of
from pipelines.index.lookup import chunks
from pipelines.index.quarantine import quarantine_totals
from pipelines.index.tables import (
    data_files,
    folders,
    mailboxes,
    parities,
    quarantine,
    rounds,
)
from pipelines.lake import Dataset


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """One mailbox: what the lake holds of it and how fresh that is."""

    address: str
    phase: str
    last_round: datetime | None
    """When the newest round of any folder was closed."""
    last_pass: datetime | None
    """When every folder was last read to the end with nothing left undone."""
    lag: float | None
    """Seconds since ``last_pass``; None before the first."""
    messages: int
    occurrences: int
    raw_bytes: int
    folders: int
    skipped_folders: dict[str, str]
    """Folders outside ingestion, and why."""
    quarantine: int
    parity: str | None
    """The grade of the newest comparison of both protocols."""
    parity_at: datetime | None
    quarantine_reasons: dict[str, int]
    quarantine_oldest: float | None
    """Seconds since the oldest message in quarantine was first listed; None where there is none."""
    last_error: str | None
    writer: str | None
    """The process that is writing it now."""

    def to_json(self) -> dict[str, Any]:
        """The status as ``--json`` prints it."""
        return {
            "address": self.address,
            "phase": self.phase,
            "last_round": self.last_round and self.last_round.isoformat(),
            "last_pass": self.last_pass and self.last_pass.isoformat(),
            "lag": self.lag,
            "counts": {
                "messages": self.messages,
                "occurrences": self.occurrences,
                "raw_bytes": self.raw_bytes,
                "folders": self.folders,
            },
            "skipped_folders": self.skipped_folders,
            "quarantine": self.quarantine,
            "parity": self.parity,
            "parity_at": self.parity_at and self.parity_at.isoformat(),
            "quarantine_reasons": self.quarantine_reasons,
            "quarantine_oldest": self.quarantine_oldest,
            "last_error": self.last_error,
            "writer": self.writer,
        }


def status(index: Index, addresses: Sequence[str], now: datetime) -> list[MailboxStatus]:
    """The mailboxes' status, in the order asked for."""
    with index.read() as connection:
        rows = {row.address: row for some in chunks(addresses) for row in _rows(connection, some)}
        ids = [rows[address].id for address in addresses]
        current = (data_files.c.dataset == Dataset.MESSAGES, data_files.c.retired_at.is_(None))
        # None of these looks at the rows of messages: a pass of a large mailbox ends with its status.
        counted = {
            "messages": _grouped(connection, ids, sa.func.sum(data_files.c.rows), data_files, *current),
            "occurrences": _grouped(connection, ids, sa.func.sum(folders.c.live_occurrences), folders),
            "raw_bytes": {row.id: row.raw_bytes for row in rows.values()},
            "folders": _grouped(connection, ids, sa.func.count(), folders, folders.c.skipped.is_(None)),
        }
        held = quarantine_totals(connection, ids[0] if len(ids) == 1 else None)
        last_rounds = _grouped(connection, ids, sa.func.max(rounds.c.closed_at), rounds)
        graded = _newest_parities(connection, ids)
        skipped = _skipped_folders(connection, ids)
    return [
        MailboxStatus(
            address=address,
            phase=rows[address].phase,
            last_round=last_rounds.get(row_id),
            last_pass=rows[address].last_pass_at,
            lag=(now - rows[address].last_pass_at).total_seconds() if rows[address].last_pass_at else None,
            skipped_folders=skipped.get(row_id, {}),
            parity=graded[row_id].grade if row_id in graded else None,
            parity_at=graded[row_id].at if row_id in graded else None,
            quarantine=sum(each.count for each in held.get(row_id, ())),
            quarantine_reasons={each.reason: each.count for each in held.get(row_id, ())},
            quarantine_oldest=max(
                ((now - each.oldest).total_seconds() for each in held.get(row_id, ())), default=None
            ),
            last_error=rows[address].last_error,
            writer=holder_of(rows[address], now),
            **{name: int(values.get(row_id) or 0) for name, values in counted.items()},
        )
        for address, row_id in zip(addresses, ids, strict=True)
    ]


def quarantine_reasons(index: Index) -> dict[str, int]:
    """How many messages are in quarantine for which reason, over all mailboxes; the most first."""
    query = (
        sa.select(quarantine.c.reason, sa.func.count().label("messages"))
        .where(quarantine.c.state == "open")
        .group_by(quarantine.c.reason)
        .order_by(sa.desc("messages"), quarantine.c.reason)
    )
    with index.read() as connection:
        return {row.reason: row.messages for row in connection.execute(query)}


def _rows(connection: sa.Connection, addresses: Sequence[str]) -> sa.CursorResult[Any]:
    return connection.execute(sa.select(mailboxes).where(mailboxes.c.address.in_(addresses)))


def _grouped(
    connection: sa.Connection,
    ids: Sequence[int],
    value: sa.ColumnElement[Any],
    table: sa.Table,
    *where: sa.ColumnElement[bool],
) -> dict[int, Any]:
    """A value of each mailbox's rows; those of other mailboxes are not looked at."""
    query = sa.select(table.c.mailbox_id, value.label("value")).where(*where).group_by(table.c.mailbox_id)
    return {
        row.mailbox_id: row.value
        for some in chunks(ids)
        for row in connection.execute(query.where(table.c.mailbox_id.in_(some)))
    }


def _newest_parities(connection: sa.Connection, ids: Sequence[int]) -> dict[int, sa.Row[Any]]:
    newest = _grouped(connection, ids, sa.func.max(parities.c.id), parities)
    return {
        row.mailbox_id: row
        for some in chunks(list(newest.values()))
        for row in connection.execute(sa.select(parities).where(parities.c.id.in_(some)))
    }


def _skipped_folders(connection: sa.Connection, ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """Paths of folders outside ingestion, and why, by mailbox."""
    found: dict[int, dict[str, str]] = {}
    for some in chunks(ids):
        query = sa.select(folders).where(folders.c.mailbox_id.in_(some), folders.c.skipped.is_not(None))
        for row in connection.execute(query):
            found.setdefault(row.mailbox_id, {})[row.path] = row.skipped
    return found
