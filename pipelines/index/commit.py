"""The one SQL transaction that makes a batch exist: rows, account and cursor together."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pipelines.index import fulltext
from pipelines.index.accounts import record_accounts
from pipelines.index.among import among
from pipelines.index.changes import (
    Changes,
    Evidence,
    Listed,
    NewMessage,
    NewOccurrence,
    NewRaw,
    Quarantined,
    Unmatched,
)
from pipelines.index.engine import Index
from pipelines.index.inserting import insert, insert_many, insert_numbered, update_many
from pipelines.index.lease import Lease, renew
from pipelines.index.lookup import chunks, message_rows, shown_by_header
from pipelines.index.quarantine import LAST_RETRY, WAITING
from pipelines.index.standins import free_keys, give_way, keep_accepted
from pipelines.index.tables import (
    attachments,
    data_files,
    folders,
    messages,
    occurrences,
    quarantine,
    raws,
    unmatched,
)
from pipelines.lake import DataFile
from pipelines.mime.record import Identity

_FIRST_RETRY = timedelta(minutes=5)


_MOVE_CURSOR = sa.update(folders).where(folders.c.id == sa.bindparam("row_id"))


def commit(index: Index, lease: Lease, changes: Changes, now: datetime) -> None:
    """Make ``changes`` true, or none of them.

    Raises ``LeaseLostError`` when another run has taken the mailbox over since.
    """
    with index.write() as connection:
        renew(connection, lease, now)
        _write(connection, lease.mailbox_id, changes, now)
    lease.commits += 1


def _write(connection: sa.Connection, mailbox_id: int, changes: Changes, now: datetime) -> None:
    # Another thread writes them meanwhile, and tells their sizes when they are there.
    files = [DataFile(each.dataset, path, each.rows, 0) for path, each in changes.files.items()]
    file_ids = insert_files(connection, mailbox_id, files)
    older = {each.message_key for each in (*changes.occurrences, *changes.edited)}
    older |= {each.message_key for each in changes.raws}
    older |= {each.message_key for each in changes.superseded}
    older -= {each.row.record.message_key for each in changes.messages}
    row_ids = message_rows(connection, mailbox_id, list(older))
    free_keys(connection, changes.superseded)
    row_ids |= insert_messages(connection, mailbox_id, changes.messages, file_ids)
    own_forms(connection, mailbox_id, [each.row.record.message_key for each in changes.messages])
    insert_raws(connection, mailbox_id, changes.raws, row_ids, file_ids)
    _insert_occurrences(connection, mailbox_id, changes, row_ids, now)
    _update_occurrences(connection, changes.edited, row_ids)
    give_way(connection, changes, row_ids, file_ids, now)
    _set_marks(connection, changes.marks)
    had = [each.listed for each in (*changes.occurrences, *changes.edited)]
    had += [each.listed for each in changes.unmatched]
    _settle(connection, had, "resolved", now)
    _settle(connection, changes.gone, "gone", now)
    # Reported removed and listed again: it was never gone (an immutable id moved A→B→A does this).
    _mark(connection, changes.revived, None)
    _mark(connection, changes.ended, now)
    for folder_id, native_ids in changes.ended.items():
        _settle(connection, [Listed(folder_id, each, None, None, ()) for each in native_ids], "gone", now)
    # After that: an edited message that cannot be had ends its occurrence and is held here instead.
    for failed in changes.quarantined:
        _quarantine(connection, mailbox_id, failed, now)
    keep_accepted(connection, mailbox_id, changes, now)
    _forget_unmatched(connection, changes)
    _insert_unmatched(connection, mailbox_id, changes.unmatched, now)
    record_accounts(connection, mailbox_id, changes.rounds)
    for folder_id in changes.swept:
        connection.execute(sa.update(folders).where(folders.c.id == folder_id).values(swept_at=now))
    if changes.cursors:
        connection.execute(
            _MOVE_CURSOR,
            [
                {"row_id": folder_id, "cursor": cursor, "cursor_at": now}
                for folder_id, cursor in changes.cursors.items()
            ],
        )
    _await_files(connection, changes, file_ids)


def _await_files(connection: sa.Connection, changes: Changes, file_ids: dict[str, int]) -> None:
    """Nothing is committed before the files are there that it names."""
    published = {path: each.published.result() for path, each in changes.files.items()}
    update_many(
        connection,
        data_files,
        [{"id": file_ids[path], "size": file.size} for path, file in published.items()],
    )


def insert_files(connection: sa.Connection, mailbox_id: int, files: Iterable[DataFile]) -> dict[str, int]:
    """Name files of the lake in the index; their row ids by path."""
    found: dict[str, int] = {}
    for file in files:
        row_id = connection.scalar(
            data_files.insert()
            .values(
                mailbox_id=mailbox_id, dataset=file.dataset, path=file.path, rows=file.rows, size=file.size
            )
            .returning(data_files.c.id)
        )
        assert row_id is not None
        found[file.path] = row_id
    return found


def insert_messages(
    connection: sa.Connection, mailbox_id: int, new: list[NewMessage], file_ids: dict[str, int]
) -> dict[str, int]:
    """Insert the messages with their text and attachments; their row ids by message key."""
    if not new:
        return {}
    text_ids = fulltext.new_ids(connection, len(new))
    row_ids = insert_numbered(
        connection,
        messages,
        [
            {
                "mailbox_id": mailbox_id,
                "file_id": file_ids[each.file],
                "text_id": text_id,
                **message_columns(each),
            }
            for text_id, each in zip(text_ids, new, strict=True)
        ],
        key="message_key",
    )
    fulltext.insert(connection, text_ids, new)
    insert_attachments(connection, new, row_ids)
    return row_ids


def insert_attachments(connection: sa.Connection, new: list[NewMessage], row_ids: dict[str, int]) -> None:
    """Insert the messages' attachments under their rows."""
    insert_many(
        connection,
        attachments,
        (
            {
                "row_id": row_ids[each.row.record.message_key],
                "name": attachment.name,
                "media_type": attachment.media_type,
                "size": attachment.size,
                "sha256": attachment.sha256,
                "inline": attachment.inline,
            }
            for each in new
            for attachment in each.row.record.attachments
        ),
    )


def insert_raws(
    connection: sa.Connection,
    mailbox_id: int,
    new: Iterable[NewRaw],
    row_ids: dict[str, int],
    file_ids: dict[str, int],
) -> None:
    """Insert where the bytes of messages stand."""
    insert_many(
        connection,
        raws,
        (
            {
                "mailbox_id": mailbox_id,
                "raw_sha256": each.raw_sha256,
                "row_id": row_ids[each.message_key],
                "size": each.size,
                "file_id": file_ids[each.file],
                "protocol": each.protocol,
                "weak": each.own_key is not None,
                "own_key": each.own_key,
            }
            for each in new
        ),
    )


def own_forms(connection: sa.Connection, mailbox_id: int, message_keys: Sequence[str]) -> None:
    """Give messages the bytes that are theirs and were taken for a weak form of another, for want of them."""
    for some in chunks(message_keys):
        taken = connection.execute(
            sa.select(raws.c.id, raws.c.raw_sha256, messages.c.id.label("row_id"))
            .join(
                messages,
                (messages.c.mailbox_id == raws.c.mailbox_id) & (messages.c.message_key == raws.c.own_key),
            )
            .where(raws.c.mailbox_id == mailbox_id, among(connection, raws.c.own_key, some))
        ).all()
        for each in taken:
            connection.execute(
                sa.update(raws)
                .where(raws.c.id == each.id)
                .values(row_id=each.row_id, weak=False, own_key=sa.null())
            )
            connection.execute(
                sa.update(occurrences)
                .where(occurrences.c.mailbox_id == mailbox_id, occurrences.c.raw_sha256 == each.raw_sha256)
                .values(row_id=each.row_id, evidence=Evidence.KEY)
            )


def message_columns(message: NewMessage) -> dict[str, Any]:
    """What the index keeps of a message beside the full text."""
    record = message.row.record
    first = (record.from_ or record.sender or (None,))[0]
    return {
        "message_key": record.message_key,
        "header_key": record.header_key,
        "message_id": record.message_id,
        "thread_id": record.thread_id,
        "subject": record.subject,
        "sender_name": first.name if first else "",
        "sender_address": first.address.lower() if first else "",
        "recipients": fulltext.people([*record.to, *record.cc, *record.bcc]),
        "sent_at": record.sent_at,
        "received_at": message.row.received_at,
        "received_by_server": message.received_by_server,
        "size": record.size,
        "attachment_count": sum(not each.inline for each in record.attachments),
        "raw_sha256": record.raw_sha256,
        "fidelity": message.row.fidelity,
        "normaliser_version": message.row.normaliser_version,
        "text_digest": fulltext.digest(message),
    }


def _insert_occurrences(
    connection: sa.Connection, mailbox_id: int, changes: Changes, row_ids: dict[str, int], now: datetime
) -> None:
    # What the server shows is no older than its round; it may have changed since it was read.
    seen_at = {each.folder_id: each.started_at for each in changes.rounds}
    insert_many(
        connection,
        occurrences,
        (
            {
                "mailbox_id": mailbox_id,
                **listed_columns(each.listed),
                "content_mark": each.listed.content_mark,
                "row_id": row_ids[each.message_key],
                "raw_sha256": each.raw_sha256,
                "evidence": each.evidence,
                "first_seen_at": seen_at.get(each.listed.folder_id, now),
            }
            for each in changes.occurrences
        ),
    )


def _update_occurrences(
    connection: sa.Connection, edited: Iterable[NewOccurrence], row_ids: dict[str, int]
) -> None:
    """Let ids stand for what was read under them now; what they stood for keeps its row."""
    for each in edited:
        connection.execute(
            sa.update(occurrences)
            .where(
                occurrences.c.folder_id == each.listed.folder_id,
                occurrences.c.native_id == each.listed.native_id,
            )
            .values(
                row_id=row_ids[each.message_key],
                raw_sha256=each.raw_sha256,
                evidence=each.evidence,
                content_mark=each.listed.content_mark,
                removed_at=None,
            )
        )


def _set_marks(connection: sa.Connection, marks: dict[int, dict[str, str]]) -> None:
    values = [
        {"in_folder": folder_id, "known_as": native_id, "mark": mark}
        for folder_id, by_id in marks.items()
        for native_id, mark in by_id.items()
    ]
    if values:
        connection.execute(
            sa.update(occurrences)
            .where(
                occurrences.c.folder_id == sa.bindparam("in_folder"),
                occurrences.c.native_id == sa.bindparam("known_as"),
            )
            .values(content_mark=sa.bindparam("mark")),
            values,
        )


def _forget_unmatched(connection: sa.Connection, changes: Changes) -> None:
    """Ids that have another outcome now."""
    stored = [each.listed for each in (*changes.occurrences, *changes.edited)]
    settled = _by_folder([*stored, *(each.listed for each in changes.quarantined), *changes.gone])
    for folder_id, native_ids in changes.ended.items():
        settled.setdefault(folder_id, []).extend(native_ids)
    for folder_id, ids in settled.items():
        for some in chunks(ids):
            connection.execute(
                sa.delete(unmatched).where(
                    unmatched.c.folder_id == folder_id, among(connection, unmatched.c.native_id, some)
                )
            )


def _insert_unmatched(
    connection: sa.Connection, mailbox_id: int, new: Sequence[Unmatched], now: datetime
) -> None:
    if not new:
        return
    insertion = insert(connection, unmatched)
    names = ("own_key", "header_key", "message_id", "subject", "content_mark", "compared_with", "last_at")
    connection.execute(
        insertion.on_conflict_do_update(
            index_elements=["folder_id", "native_id"],
            set_={name: insertion.excluded[name] for name in names},
        ),
        [
            {
                "mailbox_id": mailbox_id,
                **listed_columns(each.listed),
                "content_mark": each.listed.content_mark,
                "own_key": each.own_key,
                "compared_with": None,
                "header_key": each.header_key,
                "message_id": each.message_id,
                "subject": each.subject,
                "first_at": now,
                "last_at": now,
            }
            for each in new
        ],
    )
    _note_what_is_shown(connection, mailbox_id, [each for each in new if not each.may_match_later])


def _note_what_is_shown(connection: sa.Connection, mailbox_id: int, new: Sequence[Unmatched]) -> None:
    """Keep what was shown of their headers: when it changes, they are compared again."""
    for protocol in {each.protocol for each in new}:
        some = [each for each in new if each.protocol == protocol]
        header_keys = [each.header_key for each in some if each.header_key]
        shown = shown_by_header(connection, mailbox_id, protocol, header_keys)
        connection.execute(
            sa.update(unmatched)
            .where(
                unmatched.c.folder_id == sa.bindparam("in_folder"),
                unmatched.c.native_id == sa.bindparam("id_"),
            )
            .values(compared_with=sa.bindparam("shown")),
            [
                {
                    "in_folder": each.listed.folder_id,
                    "id_": each.listed.native_id,
                    "shown": shown.get(each.header_key or "", ""),
                }
                for each in some
            ],
        )


def identity_columns(identity: Identity | None) -> dict[str, Any]:
    """What a listing told of a message that could not be had; nothing where it told nothing."""
    if identity is None:
        return {}
    return {
        "header_key": identity.header_key,
        "message_id": identity.message_id,
        "subject": identity.subject,
    }


def listed_columns(listed: Listed) -> dict[str, Any]:
    """How a listed id stands in ``occurrences`` and ``quarantine``."""
    return {
        "folder_id": listed.folder_id,
        "native_id": listed.native_id,
        "listed_size": listed.size,
        "received_at": listed.received_at,
        "flags": " ".join(listed.flags),
    }


def _by_folder(entries: Iterable[Listed]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for each in entries:
        found.setdefault(each.folder_id, []).append(each.native_id)
    return found


def _settle(connection: sa.Connection, entries: Iterable[Listed], state: str, now: datetime) -> None:
    for folder_id, native_ids in _by_folder(entries).items():
        for some in chunks(native_ids):
            connection.execute(
                sa.update(quarantine)
                .where(
                    quarantine.c.folder_id == folder_id,
                    quarantine.c.state.in_(WAITING),
                    among(connection, quarantine.c.native_id, some),
                )
                .values(state=state, last_at=now)
            )


def _quarantine(connection: sa.Connection, mailbox_id: int, failed: Quarantined, now: datetime) -> None:
    held = sa.select(quarantine.c.attempts).where(
        quarantine.c.folder_id == failed.listed.folder_id,
        quarantine.c.native_id == failed.listed.native_id,
    )
    attempts = (connection.scalar(held) or 0) + 1
    now_known = {
        "reason": failed.reason,
        "detail": failed.detail,
        "state": "open",
        "attempts": attempts,
        "fallback_sha256": failed.fallback_sha256,
        "fidelity": failed.fidelity,
        "content_mark": failed.listed.content_mark,
        # What was accepted before, if anything, was other content.
        "accepted_by": None,
        "accepted_at": None,
        "accepted_reason": None,
        **identity_columns(failed.identity),
        "last_at": now,
        "next_at": now + min(_FIRST_RETRY * 2 ** min(attempts - 1, 10), LAST_RETRY),
    }
    connection.execute(
        insert(connection, quarantine)
        .values(mailbox_id=mailbox_id, **listed_columns(failed.listed), first_at=now, **now_known)
        .on_conflict_do_update(index_elements=["folder_id", "native_id"], set_=now_known)
    )


def _mark(connection: sa.Connection, ids: dict[int, set[str]], removed_at: datetime | None) -> None:
    for folder_id, native_ids in ids.items():
        for some in chunks(sorted(native_ids)):
            connection.execute(
                sa.update(occurrences)
                .where(occurrences.c.folder_id == folder_id, among(connection, occurrences.c.native_id, some))
                .values(removed_at=removed_at)
            )
