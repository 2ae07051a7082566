"""What the index knows of both protocols' view of a mailbox, and the comparisons made of it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipelines.index.candidates import place
from pipelines.index.engine import Index
from pipelines.index.inserting import insert
from pipelines.index.lease import Lease, renew
from pipelines.index.lookup import chunks
from pipelines.index.tables import (
    acceptances,
    differences,
    folders,
    mailboxes,
    messages,
    occurrences,
    parities,
    quarantine,
    rounds,
    unmatched,
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as one protocol shows it in one folder, or would, if it could be had."""

    folder: str
    native_id: str
    header_key: str | None
    message_id: str | None
    subject: str | None
    received_at: datetime | None
    message_key: str | None = None
    reason: str = ""
    """Why it cannot be had, for one in quarantine."""
    place: str = ""
    """Its folder, as both protocols call it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that one protocol shows and the other does not, or shows otherwise."""

    item: str
    """Names it: the same difference has the same name in every comparison."""
    kind: str
    folder: str
    legacy_id: str | None
    graph_id: str | None
    message_id: str | None
    subject: str | None
    message_key: str | None
    why: str
    action: str


@dataclass(frozen=True, slots=True)
class Parity:
    """A comparison of both protocols' view of a mailbox, and its grade."""

    at: datetime
    legacy: str
    grade: str
    counts: dict[str, Any]
    differences: list[Difference] = field(default_factory=list)


def shown_alone(
    connection: sa.Connection, mailbox_id: int, protocol: str, other: str, role: str | None
) -> list[Shown]:
    """Messages of the lake that ``protocol`` shows now and ``other`` does not; one place of each.

    ``role``: only folders of that role count on the side of ``protocol``.
    """
    seen = _live(mailbox_id, protocol, role)
    elsewhere = _live(mailbox_id, other, None).subquery()
    found = connection.execute(
        seen.where(~sa.exists().where(elsewhere.c.row_id == occurrences.c.row_id)).order_by(occurrences.c.id)
    )
    rows = {row.row_id: row for row in found}
    return [_shown(row, message_key=row.message_key) for row in rows.values()]


def shown_in_vain(connection: sa.Connection, mailbox_id: int, protocol: str, role: str | None) -> list[Shown]:
    """Ids of ``protocol`` in quarantine: listed, and not to be had."""
    rows = connection.execute(
        sa.select(quarantine, folders.c.path, folders.c.role)
        .join(folders, folders.c.id == quarantine.c.folder_id)
        .where(
            quarantine.c.mailbox_id == mailbox_id,
            quarantine.c.state == "open",
            *_read_folders(protocol, role),
        )
        .order_by(quarantine.c.id)
    )
    return [_shown(row, reason=row.reason) for row in rows]


def shown_unmatched(
    connection: sa.Connection, mailbox_id: int, protocol: str, role: str | None
) -> list[Shown]:
    """Messages that ``protocol`` shows and the lake does not have; one place of each."""
    rows = connection.execute(
        sa.select(unmatched, folders.c.path, folders.c.role)
        .join(folders, folders.c.id == unmatched.c.folder_id)
        .where(unmatched.c.mailbox_id == mailbox_id, *_read_folders(protocol, role))
        .order_by(unmatched.c.id)
    )
    return [_shown(row) for row in {row.own_key or row.id: row for row in rows}.values()]


def shown_weakly(connection: sa.Connection, mailbox_id: int, protocol: str) -> list[Shown]:
    """Occurrences of ``protocol`` that are another form of their message, with other content."""
    rows = connection.execute(_live(mailbox_id, protocol, None).where(occurrences.c.evidence == "weak"))
    return [_shown(row, message_key=row.message_key) for row in rows]


def shown_once(
    connection: sa.Connection, mailbox_id: int, protocol: str, header_keys: Sequence[str]
) -> set[str]:
    """Those of the header keys of which ``protocol`` shows one message and no other, in the lake or not."""
    live = _live(mailbox_id, protocol, None).subquery()
    waiting, held = (
        sa.select(table)
        .join(folders, folders.c.id == table.c.folder_id)
        .where(table.c.mailbox_id == mailbox_id, *_read_folders(protocol, None), *wanted)
        .subquery()
        for table, wanted in ((unmatched, []), (quarantine, [quarantine.c.state == "open"]))
    )
    found: dict[str, set[tuple[str, object]]] = {each: set() for each in header_keys}
    for shown, name in (
        (live, live.c.row_id),
        (waiting, sa.func.coalesce(waiting.c.own_key, waiting.c.native_id)),
        (held, held.c.native_id),
    ):
        for some in chunks(header_keys):
            rows = connection.execute(sa.select(shown.c.header_key, name).where(shown.c.header_key.in_(some)))
            for header_key, named in rows:
                found[header_key].add((shown.name, named))
    return {header_key for header_key, messages_of_it in found.items() if len(messages_of_it) == 1}


def shown_elsewhere(connection: sa.Connection, mailbox_id: int, protocol: str, other: str) -> list[Shown]:
    """Messages both protocols show, for the folders in which only ``protocol`` shows them.

    Folders are the same when they have the same role, or the same path and no role.
    """
    in_place = sa.case((folders.c.role == "other", sa.func.lower(folders.c.path)), else_=folders.c.role)
    ours = _live(mailbox_id, protocol, None)
    theirs = _live(mailbox_id, other, None).add_columns(in_place.label("place")).subquery()
    same_message = sa.exists().where(theirs.c.row_id == occurrences.c.row_id)
    same_place = sa.exists().where(theirs.c.row_id == occurrences.c.row_id, theirs.c.place == in_place)
    rows = connection.execute(ours.where(same_message, ~same_place).order_by(occurrences.c.id))
    return [_shown(row, message_key=row.message_key) for row in rows]


def matched_by(
    connection: sa.Connection, mailbox_id: int, protocol: str, other: str, role: str | None
) -> dict[str, int]:
    """How many messages both protocols show, by the evidence that links ``protocol``'s ids to them."""
    elsewhere = _live(mailbox_id, other, None).subquery()
    shown = (
        _live(mailbox_id, protocol, role)
        .where(sa.exists().where(elsewhere.c.row_id == occurrences.c.row_id))
        .subquery()
    )
    rows = connection.execute(
        sa.select(shown.c.evidence, sa.func.count(sa.distinct(shown.c.row_id)).label("messages")).group_by(
            shown.c.evidence
        )
    )
    return {row.evidence: row.messages for row in rows}


def count_shown(connection: sa.Connection, mailbox_id: int, protocol: str, role: str | None) -> int:
    """How many different messages of the lake ``protocol`` shows."""
    shown = _live(mailbox_id, protocol, role).subquery()
    return connection.scalar(sa.select(sa.func.count(sa.distinct(shown.c.row_id)))) or 0


@dataclass(frozen=True, slots=True)
class FolderCount:
    """A folder's newest round: whether it is closed, and whether both counts agree."""

    path: str
    started_at: datetime
    closed: bool
    server: int | None
    lake: int | None


def folder_counts(connection: sa.Connection, mailbox_id: int, protocol: str) -> list[FolderCount]:
    """The newest round of every folder that is read by ``protocol``."""
    newest = (
        sa.select(sa.func.max(rounds.c.id))
        .where(rounds.c.mailbox_id == mailbox_id, rounds.c.server_count.is_not(None))
        .group_by(rounds.c.folder_id)
    )
    rows = connection.execute(
        sa.select(rounds, folders.c.path)
        .join(folders, folders.c.id == rounds.c.folder_id)
        .where(rounds.c.id.in_(newest), *_read_folders(protocol, None), folders.c.cursor.is_not(None))
        .order_by(folders.c.path)
    )
    return [
        FolderCount(row.path, row.started_at, row.closed_at is not None, row.server_count, row.lake_count)
        for row in rows
    ]


def record_parity(index: Index, lease: Lease, parity: Parity) -> None:
    """Keep a comparison with its differences."""
    with index.write() as connection:
        renew(connection, lease, parity.at)
        parity_id = connection.scalar(
            parities.insert()
            .values(
                mailbox_id=lease.mailbox_id,
                at=parity.at,
                legacy=parity.legacy,
                grade=parity.grade,
                counts=parity.counts,
            )
            .returning(parities.c.id)
        )
        if parity.differences:
            connection.execute(
                differences.insert(),
                [{"parity_id": parity_id, **_difference_columns(each)} for each in parity.differences],
            )
    lease.commits += 1


def newest_parities(index: Index, mailbox_id: int, limit: int) -> list[Parity]:
    """The mailbox's last comparisons, the newest first; differences of the newest alone."""
    with index.read() as connection:
        rows = connection.execute(
            sa.select(parities)
            .where(parities.c.mailbox_id == mailbox_id)
            .order_by(parities.c.id.desc())
            .limit(limit)
        ).all()
        found = [Parity(row.at, row.legacy, row.grade, row.counts) for row in rows]
        if rows:
            listed = connection.execute(
                sa.select(differences).where(differences.c.parity_id == rows[0].id).order_by(differences.c.id)
            )
            found[0].differences.extend(_difference(row) for row in listed)
    return found


def open_differences(index: Index) -> list[tuple[str, Difference]]:
    """Address and difference, for those of every mailbox's newest comparison that nobody has accepted."""
    newest = sa.select(sa.func.max(parities.c.id)).group_by(parities.c.mailbox_id)
    query = (
        sa.select(mailboxes.c.address, differences)
        .join(parities, parities.c.id == differences.c.parity_id)
        .join(mailboxes, mailboxes.c.id == parities.c.mailbox_id)
        .outerjoin(
            acceptances,
            (acceptances.c.mailbox_id == parities.c.mailbox_id) & (acceptances.c.item == differences.c.item),
        )
        .where(parities.c.id.in_(newest), acceptances.c.id.is_(None))
        .order_by(mailboxes.c.address, differences.c.id)
    )
    with index.read() as connection:
        return [(row.address, _difference(row)) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A person's word that a listed difference may stand."""

    item: str
    at: datetime
    actor: str
    reason: str


def accept(index: Index, mailbox_id: int, accepted: Sequence[Acceptance]) -> None:
    """Keep acceptances; one that is there already stays as it was."""
    with index.write() as connection:
        for each in accepted:
            connection.execute(
                insert(connection, acceptances)
                .values(mailbox_id=mailbox_id, **dataclasses.asdict(each))
                .on_conflict_do_nothing(index_elements=["mailbox_id", "item"])
            )


def accepted(index: Index, mailbox_id: int) -> dict[str, Acceptance]:
    """The mailbox's acceptances by item."""
    with index.read() as connection:
        rows = connection.execute(
            sa.select(acceptances.c.item, acceptances.c.at, acceptances.c.actor, acceptances.c.reason).where(
                acceptances.c.mailbox_id == mailbox_id
            )
        )
        return {row.item: Acceptance(*row) for row in rows}


def _shown(row: sa.Row[Any], **more: Any) -> Shown:
    return Shown(
        row.path,
        row.native_id,
        row.header_key,
        row.message_id,
        row.subject,
        row.received_at,
        place=place(row.role, row.path),
        **more,
    )


def _read_folders(protocol: str, role: str | None) -> list[sa.ColumnElement[bool]]:
    wanted: list[sa.ColumnElement[bool]] = [folders.c.protocol == protocol, folders.c.skipped.is_(None)]
    return [*wanted, folders.c.role == role] if role else wanted


def _live(mailbox_id: int, protocol: str, role: str | None) -> sa.Select[Any]:
    """Live occurrences of one protocol, with their message and folder."""
    return (
        sa.select(
            occurrences.c.row_id,
            occurrences.c.native_id,
            occurrences.c.evidence,
            folders.c.path,
            folders.c.role,
            messages.c.header_key,
            messages.c.message_id,
            messages.c.subject,
            messages.c.message_key,
            messages.c.received_at,
        )
        .join(folders, folders.c.id == occurrences.c.folder_id)
        .join(messages, messages.c.id == occurrences.c.row_id)
        .where(
            occurrences.c.mailbox_id == mailbox_id,
            occurrences.c.removed_at.is_(None),
            *_read_folders(protocol, role),
        )
    )


def _difference(row: sa.Row[Any]) -> Difference:
    return Difference(**{name: getattr(row, name) for name in Difference.__slots__})


def _difference_columns(difference: Difference) -> dict[str, str | None]:
    return {name: getattr(difference, name) for name in Difference.__slots__}
