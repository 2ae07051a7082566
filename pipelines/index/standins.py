"""Accepted forms: what a person took for a message that cannot be had, until it can.

A message whose row was read from such a form is a stand-in. It gives way to the message's
own MIME when that comes, and the form's bytes stay with the message.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipelines.index.changes import Changes, Evidence, Superseded
from pipelines.index.engine import Index
from pipelines.index.inserting import insert
from pipelines.index.lease import Lease, renew
from pipelines.index.lookup import chunks
from pipelines.index.quarantine import LAST_RETRY, State
from pipelines.index.tables import (
    Instant,
    attachments,
    data_files,
    folders,
    messages,
    occurrences,
    quarantine,
    raws,
)

_KEPT_BY_LAKE = [
    column for column in quarantine.columns if column.name not in ("id", "mailbox_id", "folder_id")
]


@dataclass(frozen=True, slots=True)
class StandIn:
    """A message read from an accepted form, under one of the ids for which it was accepted."""

    row_id: int
    message_key: str
    path: str
    """The file of ``messages`` with its row."""
    folder_id: int
    native_id: str


def stand_ins(connection: sa.Connection, mailbox_id: int) -> list[StandIn]:
    """Every id of the mailbox for which an accepted form stands."""
    rows = connection.execute(
        sa.select(
            messages.c.id,
            messages.c.message_key,
            data_files.c.path,
            quarantine.c.folder_id,
            quarantine.c.native_id,
        )
        .select_from(quarantine)
        .join(raws, _bytes_of_form())
        .join(messages, messages.c.id == raws.c.row_id)
        .join(data_files, data_files.c.id == messages.c.file_id)
        .where(
            quarantine.c.mailbox_id == mailbox_id,
            quarantine.c.accepted_at.is_not(None),
            messages.c.raw_sha256 == quarantine.c.fallback_sha256,
        )
    )
    return [StandIn(*row) for row in rows]


def message_under(connection: sa.Connection, folder_id: int, native_id: str) -> str | None:
    """The key of the message for which an id stands, if it does."""
    return connection.scalar(
        sa.select(messages.c.message_key)
        .join(occurrences, occurrences.c.row_id == messages.c.id)
        .where(occurrences.c.folder_id == folder_id, occurrences.c.native_id == native_id)
    )


def keep_accepted(connection: sa.Connection, mailbox_id: int, changes: Changes, now: datetime) -> None:
    """Note what was accepted, what of it was asked for in vain, and where its messages have moved."""
    for accepted in changes.accepted:
        connection.execute(
            sa.update(quarantine)
            .where(quarantine.c.id == accepted.row_id)
            .values(
                state=State.ACCEPTED,
                accepted_by=accepted.actor,
                accepted_at=now,
                accepted_reason=accepted.reason,
                next_at=now + LAST_RETRY,
            )
        )
    for listed in changes.still_missing:
        connection.execute(
            sa.update(quarantine)
            .where(
                quarantine.c.folder_id == listed.folder_id,
                quarantine.c.native_id == listed.native_id,
                quarantine.c.state == State.ACCEPTED,
            )
            .values(attempts=quarantine.c.attempts + 1, last_at=now, next_at=now + LAST_RETRY)
        )
    moved = [each.listed for each in changes.occurrences if each.evidence is Evidence.ID]
    if moved:
        _follow(connection, mailbox_id, {each.native_id: each.folder_id for each in moved})


def _follow(connection: sa.Connection, mailbox_id: int, folder_ids: dict[str, int]) -> None:
    """Let entries go with their messages, to the folders in which these are found now."""
    entered: list[sa.Row[Any]] = []
    for some in chunks(list(folder_ids)):
        entered += connection.execute(
            sa.select(quarantine).where(
                quarantine.c.mailbox_id == mailbox_id, quarantine.c.native_id.in_(some)
            )
        )
    taken = {(each.folder_id, each.native_id) for each in entered}
    for each in entered:
        # It may have ended already in the folder that the message left.
        waits = each.accepted_at is not None and each.state in (State.ACCEPTED, State.GONE)
        if waits and (folder_ids[each.native_id], each.native_id) not in taken:
            connection.execute(
                sa.update(quarantine)
                .where(quarantine.c.id == each.id)
                .values(folder_id=folder_ids[each.native_id], state=State.ACCEPTED)
            )


def free_keys(connection: sa.Connection, superseded: Iterable[Superseded]) -> None:
    """Take their keys from stand-ins: the message that comes in their place may have the same."""
    for each in superseded:
        connection.execute(
            sa.update(messages)
            .where(messages.c.id == each.row_id)
            .values(message_key=sa.cast(messages.c.id, sa.String))
        )


def give_way(
    connection: sa.Connection,
    changes: Changes,
    row_ids: dict[str, int],
    file_ids: dict[str, int],
    now: datetime,
) -> None:
    """Let the messages that came take the place of their stand-ins, whose bytes and ids become theirs."""
    for each in changes.superseded:
        weak = each.form_key != each.message_key
        evidence = Evidence.WEAK if weak else Evidence.KEY
        form = {"weak": weak, "own_key": each.form_key if weak else None}
        for table, now_known in ((raws, form), (occurrences, {"evidence": evidence})):
            connection.execute(
                sa.update(table)
                .where(table.c.row_id == each.row_id)
                .values(row_id=row_ids[each.message_key], **now_known)
            )
        connection.execute(sa.delete(attachments).where(attachments.c.row_id == each.row_id))
        connection.execute(sa.delete(messages).where(messages.c.id == each.row_id))
    for old_path, new_path in changes.rewritten.items():
        old_file = sa.select(data_files.c.id).where(data_files.c.path == old_path).scalar_subquery()
        if new_path is not None:
            connection.execute(
                sa.update(messages).where(messages.c.file_id == old_file).values(file_id=file_ids[new_path])
            )
        connection.execute(sa.update(data_files).where(data_files.c.path == old_path).values(retired_at=now))


def accepted_forms(connection: sa.Connection, mailbox_id: int) -> list[dict[str, Any]]:
    """Every form that was accepted in the mailbox, by whom and why, as JSON for the lake to keep.

    ``message_sha256``: the bytes from which the message's row is read now, the form itself
    as long as it stands in.
    """
    rows = connection.execute(_ACCEPTED, {"mailbox": mailbox_id})
    return [
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
        for row in rows.mappings()
    ]


def restore(index: Index, lease: Lease, kept: Iterable[dict[str, Any]], now: datetime) -> None:
    """Enter accepted forms that the lake knows of, with their folders, where the index has lost them."""
    with index.write() as connection:
        renew(connection, lease, now)
        for each in kept:
            folder = {name: each[name] for name in ("protocol", "native", "path", "role")}
            connection.execute(
                insert(connection, folders)
                .values(mailbox_id=lease.mailbox_id, seen_at=now, **folder)
                .on_conflict_do_nothing(index_elements=["mailbox_id", "protocol", "native"])
            )
            folder_id = connection.execute(
                sa.select(folders.c.id).where(
                    folders.c.mailbox_id == lease.mailbox_id,
                    folders.c.protocol == each["protocol"],
                    folders.c.native == each["native"],
                )
            ).scalar_one()
            connection.execute(
                insert(connection, quarantine)
                .values(mailbox_id=lease.mailbox_id, folder_id=folder_id, **_from_json(each))
                .on_conflict_do_nothing(index_elements=["folder_id", "native_id"])
            )
    lease.commits += 1


def _from_json(kept: dict[str, Any]) -> dict[str, Any]:
    return {
        column.name: datetime.fromisoformat(kept[column.name])
        if isinstance(column.type, Instant) and kept[column.name]
        else kept[column.name]
        for column in _KEPT_BY_LAKE
    }


def _bytes_of_form() -> sa.ColumnElement[bool]:
    return (raws.c.mailbox_id == quarantine.c.mailbox_id) & (
        raws.c.raw_sha256 == quarantine.c.fallback_sha256
    )


_ACCEPTED = (
    sa.select(
        *_KEPT_BY_LAKE,
        folders.c.protocol,
        folders.c.native,
        folders.c.path,
        folders.c.role,
        messages.c.raw_sha256.label("message_sha256"),
    )
    .join(folders, folders.c.id == quarantine.c.folder_id)
    .join(raws, _bytes_of_form())
    .join(messages, messages.c.id == raws.c.row_id)
    .where(quarantine.c.mailbox_id == sa.bindparam("mailbox"), quarantine.c.accepted_at.is_not(None))
    .order_by(quarantine.c.accepted_at, quarantine.c.id)
)
