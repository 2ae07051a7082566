"""Messages of the lake that what a protocol shows may be: by identity, by form, by elimination."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipelines.index.among import among
from pipelines.index.lookup import ARCHIVE, chunks
from pipelines.index.tables import folders, messages, occurrences, quarantine, raws, rounds, unmatched


@dataclass(frozen=True, slots=True)
class Candidate:
    """A message that a listing's identity may be about."""

    message_key: str
    received_at: datetime
    received_by_server: bool
    read_at: Mapping[str, datetime]
    """Until when its content is known to be what was read, by place: a server shows it there still
    under an id that an edit would have changed, or did when it was read. Archives do not count."""
    shown_before: bool
    """Whether this protocol has shown it already, in whatever folder."""
    listed_sizes: frozenset[int]
    """As this protocol listed them, in whatever folder."""
    content_marks: frozenset[str]
    """As this protocol listed them, in whatever folder, what of the same headers had no match among them."""
    places: frozenset[str]
    """Where other protocols show it now: paths, or roles where folders have one."""
    in_quarantine: bool
    """Whether this protocol shows one of the same headers that it could not deliver."""
    fidelity: str
    """``mime``, or the accepted form from which its row was read."""


def candidates(
    connection: sa.Connection, mailbox_id: int, protocol: str, header_keys: Sequence[str]
) -> dict[str, list[Candidate]]:
    """The mailbox's messages with one of these header keys."""
    found: dict[str, list[Candidate]] = {}
    for some in chunks(header_keys):
        rows = connection.execute(
            _CANDIDATES.where(
                messages.c.mailbox_id == mailbox_id, among(connection, messages.c.header_key, some)
            )
        ).all()
        for header_key, candidate in _described(connection, mailbox_id, protocol, rows):
            found.setdefault(header_key, []).append(candidate)
    return found


def weak_candidates(
    connection: sa.Connection,
    mailbox_id: int,
    protocol: str,
    header_keys: Sequence[str],
    ids: Collection[str],
    own_keys: Collection[str],
    compared: Mapping[str, str | None],
) -> dict[str, Candidate]:
    """By header key, where others show one message of it now that ``protocol`` never showed.

    ``ids``, ``own_keys``: what is to be matched, as it is by itself; ``protocol`` may show nothing else
    of it that could not be had, or had no match. ``compared``: ids that are only compared, with
    their marks of content: their own match is in question, and so is one that rests on a listing
    with the same mark.
    """
    if not _is_shown_by_others(connection, mailbox_id, protocol):
        return {}
    shown_by_others = _SHOWN.where(folders.c.protocol != protocol, occurrences.c.removed_at.is_(None))
    nothing_else = [
        *(~each for each in _linked(mailbox_id, protocol, compared)),
        *(~each for each in _without_a_message(mailbox_id, protocol, ids, own_keys)),
    ]
    found: dict[str, Candidate] = {}
    for some in chunks(header_keys):
        alone = (
            sa.select(sa.func.min(messages.c.id))
            .where(
                messages.c.mailbox_id == mailbox_id,
                among(connection, messages.c.header_key, some),
                shown_by_others.exists(),
            )
            .group_by(messages.c.header_key)
            .having(sa.func.count() == 1)
        )
        rows = connection.execute(_CANDIDATES.where(messages.c.id.in_(alone), *nothing_else)).all()
        found.update(_described(connection, mailbox_id, protocol, rows))
    return found


_SHOWN = (
    sa.select(occurrences.c.id)
    .join(folders, folders.c.id == occurrences.c.folder_id)
    .where(occurrences.c.row_id == messages.c.id)
)


def _linked(
    mailbox_id: int, protocol: str, compared: Mapping[str, str | None]
) -> Iterator[sa.ColumnElement[bool]]:
    """That ``protocol`` shows the message, or another of its headers, by a link not in question."""
    in_question: sa.ColumnElement[bool] = occurrences.c.native_id.in_(list(compared))
    if compared:
        marks = [mark for mark in compared.values() if mark]
        alike = sa.func.coalesce(occurrences.c.content_mark, "").in_(marks)
        by_listing = occurrences.c.raw_sha256.is_(None)
        in_question |= by_listing & (alike | occurrences.c.removed_at.is_not(None))
    yield _SHOWN.where(folders.c.protocol == protocol, ~in_question).exists()
    twins = messages.alias("twins")
    yield (
        sa.exists()
        .where(twins.c.mailbox_id == mailbox_id, twins.c.header_key == messages.c.header_key)
        .where(occurrences.c.row_id == twins.c.id, occurrences.c.removed_at.is_(None), ~in_question)
        .where(folders.c.id == occurrences.c.folder_id, folders.c.protocol == protocol)
    )


def _without_a_message(
    mailbox_id: int, protocol: str, ids: Collection[str], own_keys: Collection[str]
) -> Iterator[sa.ColumnElement[bool]]:
    """That ``protocol`` shows something else of these headers that had no match, or could not be had."""
    for table, wanted in (
        (unmatched, [sa.func.coalesce(unmatched.c.own_key, "").not_in(list(own_keys))]),
        (quarantine, [quarantine.c.state == "open"]),
    ):
        yield (
            sa.exists()
            .where(table.c.mailbox_id == mailbox_id, table.c.header_key == messages.c.header_key, *wanted)
            .where(table.c.folder_id == folders.c.id, folders.c.protocol == protocol)
            .where(table.c.native_id.not_in(list(ids)))
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A message that a protocol lists and cannot deliver; what it is may not be known."""

    header_key: str | None
    received_at: datetime | None


def held_by_others(connection: sa.Connection, mailbox_id: int, protocol: str) -> list[Held]:
    """What waits in quarantine for servers that do not speak ``protocol``."""
    rows = connection.execute(
        sa.select(quarantine.c.header_key, quarantine.c.received_at)
        .join(folders, folders.c.id == quarantine.c.folder_id)
        .where(
            quarantine.c.mailbox_id == mailbox_id,
            quarantine.c.state == "open",
            folders.c.protocol.not_in([protocol, ARCHIVE]),
        )
    )
    return [Held(*row) for row in rows]


def place(role: str, path: str) -> str:
    """A folder by its role or, without one, its path: the same for every protocol."""
    return path.lower() if role == "other" else role


def places_of(connection: sa.Connection, folder_ids: Collection[int]) -> dict[int, str]:
    """The places of folders, by row id."""
    rows = connection.execute(
        sa.select(folders.c.id, folders.c.role, folders.c.path).where(folders.c.id.in_(list(folder_ids)))
    )
    return {row.id: place(row.role, row.path) for row in rows}


def _is_shown_by_others(connection: sa.Connection, mailbox_id: int, protocol: str) -> bool:
    others = sa.select(folders.c.id).where(folders.c.mailbox_id == mailbox_id, folders.c.protocol != protocol)
    return connection.scalar(others.limit(1)) is not None


def known_forms(
    connection: sa.Connection, mailbox_id: int, protocol: str, own_keys: Sequence[str]
) -> dict[str, str]:
    """Messages of which ``protocol`` has shown another form, by the key of that form."""
    found: dict[str, str] = {}
    for some in chunks(own_keys):
        rows = connection.execute(
            sa.select(raws.c.own_key, messages.c.message_key)
            .join(messages, messages.c.id == raws.c.row_id)
            .where(
                raws.c.mailbox_id == mailbox_id,
                raws.c.protocol == protocol,
                among(connection, raws.c.own_key, some),
            )
        )
        found.update((own_key, key) for own_key, key in rows)
    return found


_CANDIDATES = sa.select(
    messages.c.header_key,
    messages.c.id,
    messages.c.message_key,
    messages.c.received_at,
    messages.c.received_by_server,
    messages.c.fidelity,
)
_LAST_ROUNDS = (
    sa.select(rounds.c.folder_id, sa.func.max(rounds.c.started_at).label("began"))
    .where(rounds.c.mailbox_id == sa.bindparam("mailbox"), rounds.c.closed_at.is_not(None))
    .group_by(rounds.c.folder_id)
)


def _described(
    connection: sa.Connection, mailbox_id: int, protocol: str, rows: Sequence[Any]
) -> list[tuple[str, Candidate]]:
    if not rows:
        return []
    shown_as = _shown(connection, [row.id for row in rows])
    waiting = _waiting(connection, mailbox_id, protocol, [row.header_key for row in rows])
    last_rounds = {
        row.folder_id: row.began for row in connection.execute(_LAST_ROUNDS, {"mailbox": mailbox_id})
    }
    return [
        (
            row.header_key,
            _candidate(row, protocol, shown_as.get(row.id, []), waiting.get(row.header_key, []), last_rounds),
        )
        for row in rows
    ]


def _candidate(
    row: Any,
    protocol: str,
    shown: Sequence[Any],
    waiting: Sequence[str | None],
    last_rounds: Mapping[int, datetime],
) -> Candidate:
    here = [each for each in shown if each.protocol == protocol]
    proven = [each for each in shown if each.protocol != ARCHIVE and _is_proven(each)]
    read_at: dict[str, datetime] = {}
    for each in proven:
        still_there = each.removed_at is None and each.folder_id in last_rounds
        seen_at = last_rounds[each.folder_id] if still_there else each.first_seen_at
        where = place(each.role, each.path)
        read_at[where] = max(read_at.get(where, seen_at), seen_at)
    marks = [*(each.content_mark for each in here), *waiting]
    return Candidate(
        row.message_key,
        row.received_at,
        row.received_by_server,
        read_at,
        bool(here),
        frozenset(each.listed_size for each in here if each.listed_size is not None),
        frozenset(mark for mark in marks if mark is not None),
        frozenset(
            place(each.role, each.path)
            for each in shown
            if each.protocol != protocol and each.removed_at is None
        ),
        None in waiting,
        row.fidelity,
    )


def _waiting(
    connection: sa.Connection, mailbox_id: int, protocol: str, header_keys: Sequence[str]
) -> dict[str, list[str | None]]:
    """Marks of what the protocol shows of these headers without a match; None for what is in quarantine."""
    found: dict[str, list[str | None]] = {}
    for some in chunks(header_keys):
        for table, mark, wanted in (
            (unmatched, unmatched.c.content_mark, []),
            (quarantine, sa.null(), [quarantine.c.state == "open"]),
        ):
            rows = connection.execute(
                sa.select(table.c.header_key, sa.type_coerce(mark, sa.String).label("mark"))
                .join(folders, folders.c.id == table.c.folder_id)
                .where(
                    table.c.mailbox_id == mailbox_id,
                    among(connection, table.c.header_key, some),
                    folders.c.protocol == protocol,
                    *wanted,
                )
            )
            for row in rows:
                found.setdefault(row.header_key, []).append(row.mark)
    return found


def _is_proven(occurrence: Any) -> bool:
    """Whether its bytes were read, or a mark would tell if they changed: a listing alone does neither."""
    return occurrence.raw_sha256 is not None or occurrence.content_mark is not None


def _shown(connection: sa.Connection, row_ids: Sequence[int]) -> dict[int, list[Any]]:
    """What is kept of the occurrences of messages, by message row."""
    found: dict[int, list[Any]] = {}
    for some in chunks(row_ids):
        rows = connection.execute(
            sa.select(
                occurrences.c.row_id,
                occurrences.c.folder_id,
                occurrences.c.listed_size,
                occurrences.c.content_mark,
                occurrences.c.raw_sha256,
                occurrences.c.first_seen_at,
                occurrences.c.removed_at,
                folders.c.protocol,
                folders.c.role,
                folders.c.path,
            )
            .join(folders, folders.c.id == occurrences.c.folder_id)
            .where(among(connection, occurrences.c.row_id, some))
        )
        for row in rows:
            found.setdefault(row.row_id, []).append(row)
    return found
