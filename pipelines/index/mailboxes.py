"""Mailboxes and their folders, as rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import sqlalchemy as sa

from pipelines.index.engine import Index
from pipelines.index.inserting import insert, insert_by
from pipelines.index.lease import Lease, renew
from pipelines.index.lookup import chunks
from pipelines.index.quarantine import WAITING
from pipelines.index.tables import folders, mailboxes, occurrences, quarantine, rounds, unmatched


@dataclass(frozen=True, slots=True)
class FolderRow:
    """A folder as the index keeps it."""

    folder_id: int
    cursor: str | None
    swept_at: datetime | None
    """When all of its ids were last listed."""


def add_mailboxes(index: Index, phases: Iterable[tuple[str, str]]) -> None:
    """Make sure each address has its row; a new one starts in the phase beside it."""
    with index.read() as connection:
        known = set(connection.scalars(sa.select(mailboxes.c.address)))
    # In order, so that two who add the same ones wait for each other instead of both.
    rows = [{"address": address, "phase": phase} for address, phase in sorted(phases) if address not in known]
    if not rows:
        return
    with index.write() as connection:
        connection.execute(
            insert(connection, mailboxes).on_conflict_do_nothing(index_elements=["address"]), rows
        )


_PHASE = sa.select(mailboxes.c.phase).where(mailboxes.c.address == sa.bindparam("address"))


def phase_of(index: Index, address: str) -> str:
    """The mailbox's phase: ``legacy``, ``shadow`` or ``graph``."""
    with index.read() as connection:
        return str(connection.execute(_PHASE, {"address": address}).scalar_one())


def all_addresses(index: Index) -> list[str]:
    """Every mailbox that the index knows, configured or not."""
    with index.read() as connection:
        return list(connection.scalars(sa.select(mailboxes.c.address).order_by(mailboxes.c.address)))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a mailbox's reading stands."""

    last_pass_at: datetime | None
    """When it was last read to its end."""
    last_error: str | None
    """What its last pass has left undone; None where nothing."""
    last_error_at: datetime | None

    def ended_before(self, moment: datetime) -> bool:
        """Whether no pass has ended since, well or badly."""
        return all(each is None or each < moment for each in (self.last_pass_at, self.last_error_at))


def longest_waiting(index: Index) -> dict[str, Standing]:
    """Every mailbox that the index knows; the longer since it was read to its end, the earlier."""
    query = sa.select(
        mailboxes.c.address, mailboxes.c.last_pass_at, mailboxes.c.last_error, mailboxes.c.last_error_at
    ).order_by(mailboxes.c.last_pass_at.nulls_first(), mailboxes.c.id)
    with index.read() as connection:
        return {address: Standing(*standing) for address, *standing in connection.execute(query)}


def addresses_in(index: Index, phase: str) -> frozenset[str]:
    """The mailboxes that are in ``phase``."""
    with index.read() as connection:
        found = connection.scalars(sa.select(mailboxes.c.address).where(mailboxes.c.phase == phase))
        return frozenset(found)


def record_folders(
    index: Index,
    lease: Lease,
    protocol: str,
    seen: Sequence[tuple[str, str, str, str | None]],
    now: datetime,
    *,
    complete: bool = True,
) -> dict[str, FolderRow]:
    """Bring the folder rows of one protocol in step with its listing; rows by native name.

    ``seen``: native name, path, role, why it is skipped or None. A folder that is no
    longer listed ends its occurrences, where the listing is ``complete`` (an archive's
    never is); its row and their messages stay.
    """
    with index.write() as connection:
        renew(connection, lease, now)
        current = [
            {
                "mailbox_id": lease.mailbox_id,
                "protocol": protocol,
                "native": native,
                "path": path,
                "role": role,
                "skipped": skipped,
                "seen_at": now,
            }
            for native, path, role, skipped in seen
        ]
        if current:
            connection.execute(_seeing(connection.dialect.name), current)
        rows = connection.execute(
            _FOLDERS_SHOWN, {"mailbox_id": lease.mailbox_id, "protocol": protocol}
        ).all()
        listed = {native for native, *_ in seen}
        if complete:
            _end_vanished(connection, [row.id for row in rows if row.native not in listed], now)
    lease.commits += 1
    return {row.native: FolderRow(row.id, row.cursor, row.swept_at) for row in rows if row.native in listed}


_FOLDERS_SHOWN = sa.select(folders.c.id, folders.c.native, folders.c.cursor, folders.c.swept_at).where(
    folders.c.mailbox_id == sa.bindparam("mailbox_id"), folders.c.protocol == sa.bindparam("protocol")
)


@cache
def _seeing(dialect: str) -> sa.Executable:
    new = insert_by(dialect, folders)
    known = {name: new.excluded[name] for name in ("path", "role", "skipped", "seen_at")}
    return new.on_conflict_do_update(index_elements=["mailbox_id", "protocol", "native"], set_=known)


def _end_vanished(connection: sa.Connection, vanished: Sequence[int], now: datetime) -> None:
    for some in chunks(vanished):
        connection.execute(
            sa.update(occurrences)
            .where(occurrences.c.folder_id.in_(some), occurrences.c.removed_at.is_(None))
            .values(removed_at=now)
        )
        connection.execute(
            sa.update(quarantine)
            .where(quarantine.c.folder_id.in_(some), quarantine.c.state.in_(WAITING))
            .values(state="gone", last_at=now)
        )
        connection.execute(sa.delete(unmatched).where(unmatched.c.folder_id.in_(some)))
        # A folder of that name that comes back is another folder, or this one with changes missed.
        connection.execute(sa.update(folders).where(folders.c.id.in_(some)).values(cursor=None))


def record_pass(index: Index, lease: Lease, error: str | None, now: datetime) -> None:
    """Note how the mailbox's pass ended: with nothing left undone, or with ``error``.

    Accounts of rounds of more than a week ago are forgotten where a newer one took their place.
    """
    ended = _WELL if error is None else _BADLY
    with index.write() as connection:
        renew(connection, lease, now)
        connection.execute(ended, {"row_id": lease.mailbox_id, "now": now, "error": error})
        connection.execute(_FORGET_ROUNDS, {"row_id": lease.mailbox_id, "long_ago": now - _ROUNDS_KEPT})
    lease.commits += 1


_ENDED = sa.update(mailboxes).where(mailboxes.c.id == sa.bindparam("row_id")).values(round_wanted_at=None)
_WELL = _ENDED.values(last_pass_at=sa.bindparam("now"), last_error=None, failed_passes=0)
_BADLY = _ENDED.values(
    last_error=sa.bindparam("error"),
    last_error_at=sa.bindparam("now"),
    failed_passes=mailboxes.c.failed_passes + 1,
)
_ROUNDS_KEPT = timedelta(days=7)
"""Rounds of every quarter of an hour would be what the index mostly holds; only the newest are asked for."""
_newer = rounds.alias("newer")
_FORGET_ROUNDS = sa.delete(rounds).where(
    rounds.c.mailbox_id == sa.bindparam("row_id"),
    rounds.c.started_at < sa.bindparam("long_ago"),
    # The last one of a folder that was reconciled stays, however old, and whatever came after it.
    sa.exists().where(
        _newer.c.mailbox_id == rounds.c.mailbox_id,
        _newer.c.folder_id == rounds.c.folder_id,
        _newer.c.id > rounds.c.id,
        _newer.c.closed_at.is_not(None),
        _newer.c.server_count.is_not(None),
    ),
)


def record_refusal(index: Index, lease: Lease, error: str, now: datetime) -> None:
    """Note why a pass was not begun. It counts as no commit: the lake is not to be touched."""
    with index.write() as connection:
        connection.execute(
            sa.update(mailboxes)
            .where(mailboxes.c.id == lease.mailbox_id, mailboxes.c.lease_epoch == lease.epoch)
            .values(last_error=error, last_error_at=now)
        )


def want_round(index: Index, address: str, now: datetime) -> None:
    """Note that a pass was turned away, since another run writes the mailbox."""
    with index.write() as connection:
        connection.execute(
            sa.update(mailboxes).where(mailboxes.c.address == address).values(round_wanted_at=now)
        )


def is_round_wanted(index: Index, address: str) -> bool:
    """Whether a pass was turned away and none has been made since."""
    with index.read() as connection:
        wanted = sa.select(mailboxes.c.round_wanted_at).where(mailboxes.c.address == address)
        return connection.scalar(wanted) is not None
