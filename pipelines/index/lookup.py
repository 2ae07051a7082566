"""What the index already knows: the questions a round asks before it fetches anything."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from pipelines.index.among import among
from pipelines.index.tables import (
    data_files,
    folders,
    mailboxes,
    messages,
    occurrences,
    quarantine,
    raws,
    rounds,
    unmatched,
)

Item = TypeVar("Item")
_IN_ONE_QUERY = 500
"""SQLite before 3.32 refuses more than 999 parameters; some builds still do."""
ARCHIVE = "archive"
"""The protocol of mail from files."""


def chunks(items: Sequence[Item], size: int = _IN_ONE_QUERY) -> Iterator[Sequence[Item]]:
    """The items in runs of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def message_rows(connection: sa.Connection, mailbox_id: int, keys: Sequence[str]) -> dict[str, int]:
    """Row ids of the messages the mailbox already has, by message key."""
    found: dict[str, int] = {}
    for some in chunks(keys):
        rows = connection.execute(
            sa.select(messages.c.message_key, messages.c.id).where(
                messages.c.mailbox_id == mailbox_id, among(connection, messages.c.message_key, some)
            )
        )
        found.update((key, row_id) for key, row_id in rows)
    return found


def known_raws(connection: sa.Connection, mailbox_id: int, digests: Sequence[str]) -> dict[str, str]:
    """Which of these bytes the mailbox already has: their message's key by digest."""
    found: dict[str, str] = {}
    for some in chunks(digests):
        rows = connection.execute(
            sa.select(raws.c.raw_sha256, messages.c.message_key)
            .join(messages, messages.c.id == raws.c.row_id)
            .where(raws.c.mailbox_id == mailbox_id, among(connection, raws.c.raw_sha256, some))
        )
        found.update((digest, key) for digest, key in rows)
    return found


def keys_of_bytes(connection: sa.Connection, mailbox_id: int, digests: Sequence[str]) -> dict[str, str]:
    """Keys of the messages whose row was read from one of these bytes, by digest."""
    found: dict[str, str] = {}
    for some in chunks(digests):
        rows = connection.execute(
            sa.select(messages.c.raw_sha256, messages.c.message_key).where(
                messages.c.mailbox_id == mailbox_id, among(connection, messages.c.raw_sha256, some)
            )
        )
        found.update((digest, key) for digest, key in rows)
    return found


@dataclass(frozen=True, slots=True)
class Known:
    """An id that stands for a message of the lake."""

    live: bool
    """Whether it is believed to lie in the folder still."""
    content_mark: str | None
    first_seen_at: datetime


def known_occurrences(
    connection: sa.Connection, folder_id: int, native_ids: Sequence[str]
) -> dict[str, Known]:
    """Which of these native ids stand, or stood, for a message of the lake."""
    found: dict[str, Known] = {}
    for some in chunks(native_ids):
        rows = connection.execute(
            sa.select(
                occurrences.c.native_id,
                occurrences.c.removed_at,
                occurrences.c.content_mark,
                occurrences.c.first_seen_at,
            ).where(occurrences.c.folder_id == folder_id, among(connection, occurrences.c.native_id, some))
        )
        found.update(
            (row.native_id, Known(row.removed_at is None, row.content_mark, row.first_seen_at))
            for row in rows
        )
    return found


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a mailbox-wide id stood for in another folder."""

    message_key: str
    raw_sha256: str | None
    content_mark: str | None


def known_elsewhere(
    connection: sa.Connection, mailbox_id: int, protocol: str, native_ids: Sequence[str]
) -> dict[str, Elsewhere]:
    """Which of these ids the protocol showed in any folder of the mailbox; the latest where in several."""
    found: dict[str, Elsewhere] = {}
    for some in chunks(native_ids):
        rows = connection.execute(
            sa.select(
                occurrences.c.native_id,
                messages.c.message_key,
                occurrences.c.raw_sha256,
                occurrences.c.content_mark,
            )
            .join(folders, folders.c.id == occurrences.c.folder_id)
            .join(messages, messages.c.id == occurrences.c.row_id)
            .where(
                occurrences.c.mailbox_id == mailbox_id,
                among(connection, occurrences.c.native_id, some),
                folders.c.protocol == protocol,
            )
            .order_by(occurrences.c.id)
        )
        found.update((native_id, Elsewhere(*rest)) for native_id, *rest in rows)
    return found


def quarantined(connection: sa.Connection, folder_id: int, native_ids: Sequence[str]) -> set[str]:
    """Which of these native ids are in quarantine."""
    found: set[str] = set()
    for some in chunks(native_ids):
        found.update(
            connection.scalars(
                sa.select(quarantine.c.native_id).where(
                    quarantine.c.folder_id == folder_id,
                    quarantine.c.state == "open",
                    among(connection, quarantine.c.native_id, some),
                )
            )
        )
    return found


def message_ids_in_lake(connection: sa.Connection, mailbox_id: int, message_ids: Sequence[str]) -> set[str]:
    """Which of these Message-IDs messages of the mailbox have."""
    found: set[str] = set()
    for some in chunks(message_ids):
        found.update(
            connection.scalars(
                sa.select(messages.c.message_id).where(
                    messages.c.mailbox_id == mailbox_id, among(connection, messages.c.message_id, some)
                )
            )
        )
    return found


def keys_of_message_ids(connection: sa.Connection, mailbox_id: int, message_ids: Sequence[str]) -> set[str]:
    """Keys of the mailbox's messages with one of these Message-IDs."""
    found: set[str] = set()
    for some in chunks(message_ids):
        found.update(
            connection.scalars(
                sa.select(messages.c.message_key).where(
                    messages.c.mailbox_id == mailbox_id, messages.c.message_id.in_(some)
                )
            )
        )
    return found


def shown_by_header(
    connection: sa.Connection, mailbox_id: int, protocol: str, header_keys: Sequence[str]
) -> dict[str, str]:
    """What is shown of each of these header keys now, as one text that is another when any of it is.

    Messages of the lake by folder, whichever protocol shows them, and what ``protocol`` shows
    without a match or cannot deliver.
    """
    linked = (
        sa.select(messages.c.header_key, sa.literal("="), messages.c.id, folders.c.id)
        .select_from(occurrences)
        .join(folders, folders.c.id == occurrences.c.folder_id)
        .join(messages, messages.c.id == occurrences.c.row_id)
        .where(messages.c.mailbox_id == mailbox_id, occurrences.c.removed_at.is_(None))
    )
    found: dict[str, set[str]] = {}
    for some in chunks(header_keys):
        for query in (
            linked.where(messages.c.header_key.in_(some)),
            *(
                sa.select(table.c.header_key, sa.literal(sign), name, sa.literal(""))
                .join(folders, folders.c.id == table.c.folder_id)
                .where(table.c.mailbox_id == mailbox_id, table.c.header_key.in_(some), *wanted)
                .where(folders.c.protocol == protocol)
                for table, sign, name, wanted in (
                    (unmatched, "?", unmatched.c.own_key, []),
                    (quarantine, "!", quarantine.c.native_id, [quarantine.c.state == "open"]),
                )
            ),
        ):
            for header_key, *named in connection.execute(query.distinct()):
                found.setdefault(header_key, set()).add(" ".join(map(str, named)))
    return {header_key: "\n".join(sorted(shown)) for header_key, shown in found.items()}


_BY_LISTING = (
    occurrences.c.removed_at.is_(None),
    occurrences.c.evidence.in_(("listing", "id")),
    occurrences.c.raw_sha256.is_(None),
)


def linked_by_listing(connection: sa.Connection, folder_id: int) -> Sequence[sa.Row[Any]]:
    """Live ids of the folder whose message was told from a listing; none of their bytes are known."""
    return connection.execute(
        sa.select(occurrences, messages.c.message_key)
        .join(messages, messages.c.id == occurrences.c.row_id)
        .where(occurrences.c.folder_id == folder_id, *_BY_LISTING)
    ).all()


def rest_on_listing(
    connection: sa.Connection, mailbox_id: int, protocols: Collection[str], message_keys: Sequence[str]
) -> bool:
    """Whether an id stands for one of these messages on the word of a listing alone.

    Only where one of ``protocols`` shows it, in a folder that is read: its bytes can be asked for.
    """
    for some in chunks(message_keys):
        linked = (
            sa.select(occurrences.c.id)
            .join(messages, messages.c.id == occurrences.c.row_id)
            .join(folders, folders.c.id == occurrences.c.folder_id)
            .where(occurrences.c.mailbox_id == mailbox_id, messages.c.message_key.in_(some), *_BY_LISTING)
            .where(folders.c.protocol.in_(protocols), folders.c.skipped.is_(None))
            .limit(1)
        )
        if connection.scalar(linked) is not None:
            return True
    return False


def unmatched_entries(connection: sa.Connection, folder_id: int) -> Sequence[sa.Row[Any]]:
    """Ids of the folder for which the lake had no message when they were compared."""
    return connection.execute(
        sa.select(unmatched).where(unmatched.c.folder_id == folder_id).order_by(unmatched.c.id)
    ).all()


def unmatched_ids(connection: sa.Connection, folder_id: int, native_ids: Sequence[str]) -> set[str]:
    """Which of these native ids had no message in the lake when they were compared."""
    found: set[str] = set()
    for some in chunks(native_ids):
        found.update(
            connection.scalars(
                sa.select(unmatched.c.native_id).where(
                    unmatched.c.folder_id == folder_id, among(connection, unmatched.c.native_id, some)
                )
            )
        )
    return found


_BY_OTHERS = (
    sa.select(occurrences.c.id)
    .join(folders, folders.c.id == occurrences.c.folder_id)
    .where(
        folders.c.mailbox_id == sa.bindparam("mailbox_id"),
        folders.c.protocol != sa.bindparam("protocol"),
        folders.c.protocol != ARCHIVE,
    )
    .limit(1)
)


def shown_by_others(connection: sa.Connection, mailbox_id: int, protocol: str) -> bool:
    """Whether another protocol than this one has shown messages of the mailbox; files are none."""
    return connection.scalar(_BY_OTHERS, {"mailbox_id": mailbox_id, "protocol": protocol}) is not None


def has_messages(connection: sa.Connection, mailbox_id: int) -> bool:
    """Whether the lake holds anything of the mailbox that a server has shown; files are none."""
    return shown_by_others(connection, mailbox_id, ARCHIVE)


_FOLDER: sa.BindParameter[int] = sa.bindparam("folder_id")
_LIVE = sa.select(occurrences.c.native_id).where(
    occurrences.c.folder_id == _FOLDER, occurrences.c.removed_at.is_(None)
)
_HELD = sa.select(quarantine.c.native_id).where(
    quarantine.c.folder_id == _FOLDER, quarantine.c.state == "open"
)
_UNMATCHED = sa.select(unmatched.c.native_id).where(unmatched.c.folder_id == _FOLDER)
_LIVE_IDS = sa.union(_LIVE, _HELD, _UNMATCHED)


def _in_folder(table: sa.Table, *where: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(table.c.id).where(table.c.folder_id == folders.c.id, *where).correlate(folders)


# The first is kept by the database, since it is of as many rows as there is mail; the others are few.
_LIVE_COUNT = sum(
    (
        each.with_only_columns(sa.func.count()).scalar_subquery()
        for each in (_in_folder(quarantine, quarantine.c.state == "open"), _in_folder(unmatched))
    ),
    start=folders.c.live_occurrences,
)
_COUNT_OF_FOLDER = sa.select(_LIVE_COUNT).where(folders.c.id == _FOLDER)
_FOLDERS = sa.select(folders.c.id).where(
    folders.c.mailbox_id == sa.bindparam("mailbox_id"), folders.c.protocol == sa.bindparam("protocol")
)
_COUNTS = _FOLDERS.add_columns(_LIVE_COUNT)
_WITH_UNMATCHED = _FOLDERS.where(_in_folder(unmatched).exists())
_WITH_DUE = _FOLDERS.where(
    _in_folder(
        quarantine, quarantine.c.state.in_(("open", "accepted")), quarantine.c.next_at <= sa.bindparam("now")
    ).exists()
)


def live_ids(connection: sa.Connection, folder_id: int) -> set[str]:
    """Every native id that the folder is believed to hold, quarantined and unmatched ones included."""
    return set(connection.scalars(_LIVE_IDS, {"folder_id": folder_id}))


def live_count(connection: sa.Connection, folder_id: int) -> int:
    """How many messages the folder is believed to hold, quarantined and unmatched ones included.

    No id is in both: one that is quarantined after it was stored has its occurrence ended.
    """
    return connection.scalar(_COUNT_OF_FOLDER, {"folder_id": folder_id}) or 0


def live_counts(connection: sa.Connection, mailbox_id: int, protocol: str) -> dict[int, int]:
    """The same of every folder that the protocol shows, by its row."""
    rows = connection.execute(_COUNTS, {"mailbox_id": mailbox_id, "protocol": protocol}).all()
    return dict(rows)


def folders_with_unmatched(connection: sa.Connection, mailbox_id: int, protocol: str) -> set[int]:
    """Rows of the protocol's folders with ids for which the lake had no message."""
    return set(connection.scalars(_WITH_UNMATCHED, {"mailbox_id": mailbox_id, "protocol": protocol}))


def folders_with_due(connection: sa.Connection, mailbox_id: int, protocol: str, now: datetime) -> set[int]:
    """Rows of the protocol's folders with messages in quarantine that are to be asked for again."""
    values = {"mailbox_id": mailbox_id, "protocol": protocol, "now": now}
    return set(connection.scalars(_WITH_DUE, values))


_PATHS = sa.select(data_files.c.path).where(data_files.c.mailbox_id == sa.bindparam("mailbox_id"))
_FILE_PATHS = _PATHS.where(data_files.c.dataset == sa.bindparam("dataset"), data_files.c.retired_at.is_(None))
_RETIRED_PATHS = _PATHS.where(data_files.c.retired_at.is_not(None))


def file_paths(connection: sa.Connection, mailbox_id: int, dataset: str) -> set[str]:
    """Paths of the files that make up one dataset of the mailbox."""
    return set(connection.scalars(_FILE_PATHS, {"mailbox_id": mailbox_id, "dataset": dataset}))


def retired_paths(connection: sa.Connection, mailbox_id: int) -> set[str]:
    """Paths of files that were replaced and may still lie in the lake."""
    return set(connection.scalars(_RETIRED_PATHS, {"mailbox_id": mailbox_id}))


def keys_in_file(connection: sa.Connection, mailbox_id: int, path: str) -> dict[str, str]:
    """What the index says a file of ``messages`` holds: digests of the bytes by message key."""
    rows = connection.execute(
        sa.select(messages.c.message_key, messages.c.raw_sha256)
        .join(data_files, data_files.c.id == messages.c.file_id)
        .where(data_files.c.mailbox_id == mailbox_id, data_files.c.path == path)
    )
    return {row.message_key: row.raw_sha256 for row in rows}


def messages_without_bytes(connection: sa.Connection, mailbox_id: int) -> Sequence[str]:
    """Keys of the messages whose bytes the lake does not have."""
    kept = sa.exists().where(
        raws.c.mailbox_id == messages.c.mailbox_id, raws.c.raw_sha256 == messages.c.raw_sha256
    )
    return connection.scalars(
        sa.select(messages.c.message_key).where(messages.c.mailbox_id == mailbox_id, sa.not_(kept))
    ).all()


def row_of_mailbox(connection: sa.Connection, address: str) -> int:
    """The mailbox's row id."""
    found = connection.execute(sa.select(mailboxes.c.id).where(mailboxes.c.address == address))
    return int(found.scalar_one())


def newest_rounds(connection: sa.Connection, mailbox_id: int) -> Sequence[sa.Row[Any]]:
    """The newest round of every folder that is read and still listed."""
    newest = (
        sa.select(sa.func.max(rounds.c.id))
        .where(rounds.c.mailbox_id == mailbox_id)
        .group_by(rounds.c.folder_id)
    )
    return connection.execute(
        sa.select(rounds, folders.c.path)
        .join(folders, folders.c.id == rounds.c.folder_id)
        .where(rounds.c.id.in_(newest), folders.c.skipped.is_(None), folders.c.cursor.is_not(None))
    ).all()


@dataclass(frozen=True, slots=True)
class Placed:
    """A message, and the files of the lake in which its row and its bytes stand."""

    row_id: int
    message_key: str
    mailbox: str
    raw_sha256: str
    message_path: str
    raw_path: str


def find_message(connection: sa.Connection, key: str) -> list[Placed]:
    """Messages whose key begins with ``key``; two are enough to see that it names no single one."""
    held = sa.alias(data_files, "held")
    rows = connection.execute(
        sa.select(
            messages.c.id,
            messages.c.message_key,
            mailboxes.c.address,
            messages.c.raw_sha256,
            data_files.c.path,
            held.c.path.label("raw_path"),
        )
        .join(mailboxes, mailboxes.c.id == messages.c.mailbox_id)
        .join(data_files, data_files.c.id == messages.c.file_id)
        .join(
            raws, (raws.c.mailbox_id == messages.c.mailbox_id) & (raws.c.raw_sha256 == messages.c.raw_sha256)
        )
        .join(held, held.c.id == raws.c.file_id)
        .where(messages.c.message_key >= key, messages.c.message_key < key + "g")
        .order_by(messages.c.message_key, messages.c.id)
        .limit(20)
    )
    return [Placed(*row) for row in rows]
