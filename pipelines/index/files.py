"""The lake's files as rows: named, replaced, forgotten."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipelines.index import fulltext
from pipelines.index.among import among
from pipelines.index.changes import NewMessage
from pipelines.index.commit import insert_attachments, insert_files, insert_messages, message_columns
from pipelines.index.engine import Index
from pipelines.index.inserting import update_many
from pipelines.index.lease import Lease, renew
from pipelines.index.lookup import chunks, message_rows
from pipelines.index.tables import attachments, data_files, messages, occurrences, raws, unmatched
from pipelines.lake import DataFile


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """Bytes of a message of one file, and where they stand."""

    row_id: int
    raw_sha256: str
    path: str
    primary: bool
    """Whether the message's row was read from these bytes."""
    weak: bool
    """Whether they are another protocol's form of the message, with other content."""


@dataclass(slots=True)
class Replacement:
    """A file of ``messages`` read anew: what its rows become."""

    old_path: str
    files: list[DataFile] = field(default_factory=list)
    updated: dict[int, NewMessage] = field(default_factory=dict)
    """By message row."""
    added: list[NewMessage] = field(default_factory=list)
    merged: dict[int, str] = field(default_factory=dict)
    """Message rows that turned out to be another message: its key."""
    key_of_bytes: dict[str, str] = field(default_factory=dict)
    """Message keys by digest, for every bytes of the file's messages."""
    own_keys: dict[str, str] = field(default_factory=dict)
    """Their own keys by digest, for weakly matched bytes of the file's messages."""


def forget_retired(index: Index, lease: Lease) -> None:
    """Drop the rows of replaced files, once the files themselves are gone."""
    with index.write() as connection:
        connection.execute(
            sa.delete(data_files).where(
                data_files.c.mailbox_id == lease.mailbox_id, data_files.c.retired_at.is_not(None)
            )
        )


def outdated_files(index: Index, lease: Lease, version: int | None) -> dict[str, int]:
    """Files of ``messages`` with rows of a normaliser older than ``version``, and how many rows each has.

    All files for None.
    """
    query = _files_with(_OF_FILE) if version is None else _OUTDATED
    with index.read() as connection:
        found = connection.execute(query, {"mailbox_id": lease.mailbox_id, "version": version})
        return {each.path: each.rows for each in found}


def _files_with(rows: sa.Select[Any]) -> sa.Select[Any]:
    """The mailbox's files that have such rows."""
    return (
        sa.select(data_files.c.path, data_files.c.rows)
        .where(
            data_files.c.mailbox_id == sa.bindparam("mailbox_id"),
            data_files.c.retired_at.is_(None),
            rows.exists(),
        )
        .order_by(data_files.c.path)
    )


_OF_FILE = sa.select(messages.c.id).where(messages.c.file_id == data_files.c.id)
_OUTDATED = _files_with(_OF_FILE.where(messages.c.normaliser_version < sa.bindparam("version")))


def bytes_of_file(connection: sa.Connection, mailbox_id: int, path: str) -> list[StoredBytes]:
    """Every bytes of the messages whose rows stand in the file at ``path``, the primary ones first."""
    held = sa.alias(data_files, "held")
    rows = connection.execute(
        sa.select(
            raws.c.row_id, raws.c.raw_sha256, raws.c.weak, held.c.path, messages.c.raw_sha256.label("first")
        )
        .join(messages, messages.c.id == raws.c.row_id)
        .join(data_files, data_files.c.id == messages.c.file_id)
        .join(held, held.c.id == raws.c.file_id)
        .where(data_files.c.mailbox_id == mailbox_id, data_files.c.path == path)
        .order_by((raws.c.raw_sha256 == messages.c.raw_sha256).desc(), raws.c.id)
    )
    return [
        StoredBytes(row.row_id, row.raw_sha256, row.path, row.raw_sha256 == row.first, row.weak)
        for row in rows
    ]


def replace_file(index: Index, lease: Lease, new: Replacement, now: datetime) -> None:
    """Swap one file of ``messages`` for others, with every row, in one transaction."""
    with index.write() as connection:
        renew(connection, lease, now)
        file_ids = insert_files(connection, lease.mailbox_id, new.files)
        # Rows may trade keys among themselves; none may collide on the way.
        for some in chunks([*_other_keys(connection, new.updated), *new.merged]):
            connection.execute(
                sa.update(messages)
                .where(among(connection, messages.c.id, some))
                .values(message_key=sa.cast(messages.c.id, sa.String))
            )
        _update_messages(connection, new.updated, file_ids)
        insert_messages(connection, lease.mailbox_id, new.added, file_ids)
        _move_bytes(connection, lease.mailbox_id, new)
        # What had no match was compared by keys that may be of an older version.
        connection.execute(
            sa.update(unmatched)
            .where(unmatched.c.mailbox_id == lease.mailbox_id)
            .values(own_key=None, compared_with=None)
        )
        connection.execute(
            sa.update(data_files).where(data_files.c.path == new.old_path).values(retired_at=now)
        )
    lease.commits += 1


def _other_keys(connection: sa.Connection, updated: dict[int, NewMessage]) -> list[int]:
    """Message rows that are to have another key than now."""
    found = []
    for some in chunks(list(updated)):
        rows = connection.execute(
            sa.select(messages.c.id, messages.c.message_key).where(among(connection, messages.c.id, some))
        )
        found += [row_id for row_id, key in rows if updated[row_id].row.record.message_key != key]
    return found


def _update_messages(
    connection: sa.Connection, updated: dict[int, NewMessage], file_ids: dict[str, int]
) -> None:
    columns = {row_id: message_columns(message) for row_id, message in updated.items()}
    by_file: dict[tuple[int, int], list[int]] = {}
    for row_id, values in columns.items():
        # When it was received is the server's word, not the normaliser's.
        del values["received_at"], values["received_by_server"]
        file_id, version = file_ids[updated[row_id].file], values.pop("normaliser_version")
        by_file.setdefault((file_id, version), []).append(row_id)
    changed = _changed(connection, columns)
    reworded = [row_id for row_id, values in changed.items() if "text_digest" in values]
    new_ids = fulltext.new_ids(connection, len(reworded), instead_of=reworded)
    for row_id, text_id in zip(reworded, new_ids, strict=True):
        changed[row_id]["text_id"] = text_id
    for (file_id, version), same in by_file.items():
        connection.execute(
            sa.update(messages)
            .where(among(connection, messages.c.id, same))
            .values(file_id=file_id, normaliser_version=version)
        )
    by_names: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row_id, values in changed.items():
        by_names.setdefault(tuple(values), []).append({"id": row_id, **values})
    for rows in by_names.values():
        update_many(connection, messages, rows)
    fulltext.insert(connection, new_ids, [updated[row_id] for row_id in reworded])
    for some in chunks(list(updated)):
        connection.execute(sa.delete(attachments).where(among(connection, attachments.c.row_id, some)))
    keys = {message.row.record.message_key: row_id for row_id, message in updated.items()}
    insert_attachments(connection, list(updated.values()), keys)


def _changed(connection: sa.Connection, columns: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Of each row, the columns that have other values now. Most often none has: to write
    what is there already would cost its place in each of the table's indexes, once out and once in.
    """
    names = next(iter(columns.values()), {}).keys()
    wanted = sa.select(messages.c.id, *(messages.c[name] for name in names))
    found = {}
    for some in chunks(list(columns)):
        for row_id, *stood in connection.execute(wanted.where(among(connection, messages.c.id, some))):
            values = columns[row_id]
            if changed := {
                name: values[name] for name, old in zip(names, stood, strict=True) if values[name] != old
            }:
                found[row_id] = changed
    return found


def _move_bytes(connection: sa.Connection, mailbox_id: int, new: Replacement) -> None:
    """Point bytes and occurrences at the messages they turned out to be."""
    row_ids = message_rows(connection, mailbox_id, list({*new.key_of_bytes.values(), *new.merged.values()}))
    moved = []
    for some in chunks(list(new.key_of_bytes)):
        stood = connection.execute(
            sa.select(raws.c.raw_sha256, raws.c.row_id).where(
                raws.c.mailbox_id == mailbox_id, among(connection, raws.c.raw_sha256, some)
            )
        )
        moved += [
            {"digest": digest, "old_row": row_id, "row": row_ids[new.key_of_bytes[digest]]}
            for digest, row_id in stood
            if row_id != row_ids[new.key_of_bytes[digest]]
        ]
    for table in (raws, occurrences) if moved else ():
        connection.execute(
            sa.update(table)
            .where(table.c.row_id == sa.bindparam("old_row"), table.c.raw_sha256 == sa.bindparam("digest"))
            .values(row_id=sa.bindparam("row")),
            moved,
        )
    for digest, own_key in new.own_keys.items():
        connection.execute(
            sa.update(raws)
            .where(raws.c.mailbox_id == mailbox_id, raws.c.raw_sha256 == digest)
            .values(own_key=own_key)
        )
    for row_id, key in new.merged.items():
        for table in (raws, occurrences):
            connection.execute(sa.update(table).where(table.c.row_id == row_id).values(row_id=row_ids[key]))
        connection.execute(sa.delete(attachments).where(attachments.c.row_id == row_id))
        connection.execute(sa.delete(messages).where(messages.c.id == row_id))
