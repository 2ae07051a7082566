"""Searching the index: words, phrases and fields to one SQL query."""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from pipelines.errors import UsageError
from pipelines.index import fulltext
from pipelines.index.engine import Index
from pipelines.index.lookup import chunks
from pipelines.index.tables import folders, mailboxes, messages, occurrences

_TERM = re.compile(r'(?P<minus>-)?(?:(?P<field>[a-z_]+):)?(?P<value>"[^"]*"?|\S+)')
_URL_SCHEMES = ("http", "https", "mailto", "ftp")
_COLUMN_OF = {
    "from": "sender",
    "to": "recipients",
    "subject": "subject",
    "filename": "attachments",
    "body": "body",
}

GRAMMAR = (
    'words and "phrases", a* for beginnings, -word to leave out; from: to: subject: body: filename: '
    "in:FOLDER mailbox: id: has:attachment before:DATE after:DATE"
)


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that was found."""

    message_key: str
    mailbox: str
    received_at: datetime
    sender: str
    subject: str
    attachments: int
    size: int
    folders: tuple[str, ...]
    """Where it lies now, as the last round of each folder saw it."""

    def to_json(self) -> dict[str, Any]:
        """The hit as ``--json`` prints it."""
        return {
            "message_key": self.message_key,
            "mailbox": self.mailbox,
            "received_at": self.received_at.isoformat(),
            "from": self.sender,
            "subject": self.subject,
            "attachments": self.attachments,
            "size": self.size,
            "folders": list(self.folders),
        }


def search(index: Index, query: str, limit: int) -> list[Hit]:
    """The newest ``limit`` messages that match; see ``GRAMMAR``.

    Raises ``UsageError`` for an empty query, an unknown field or a date that is none.
    """
    phrases, conditions = _read(index.dialect, query)
    if not phrases and not conditions:
        raise UsageError("the query is empty", remedy=f"write {GRAMMAR}")
    with index.read() as connection:
        rows = _newest(connection, phrases, conditions, limit)
        where = folders_of(connection, [row.id for row in rows])
    return [
        Hit(
            row.message_key,
            row.address,
            row.received_at,
            f"{row.sender_name} <{row.sender_address}>" if row.sender_name else row.sender_address,
            row.subject,
            row.attachment_count,
            row.size,
            tuple(where.get(row.id, ())),
        )
        for row in rows
    ]


def _newest(
    connection: sa.Connection,
    phrases: Sequence[fulltext.Phrase],
    conditions: Sequence[sa.ColumnElement[bool]],
    limit: int,
) -> Sequence[sa.Row[Any]]:
    """The newest messages with all the phrases and conditions."""
    found = (
        sa.select(messages, mailboxes.c.address)
        .join(mailboxes, mailboxes.c.id == messages.c.mailbox_id)
        .where(*conditions)
        .order_by(messages.c.received_at.desc(), messages.c.id.desc())
        .limit(limit)
    )
    if not phrases:
        return connection.execute(found).all()
    dialect = connection.dialect.name
    recent = fulltext.newest(connection) if fulltext.are_frequent(connection, phrases) else None
    if recent:
        since, text_ids = recent
        first = found.where(messages.c.received_at >= since, fulltext.matches(dialect, phrases, text_ids))
        rows = connection.execute(first).all()
        if len(rows) == limit:
            return rows
    return connection.execute(found.where(fulltext.matches(dialect, phrases))).all()


def folders_of(connection: sa.Connection, row_ids: list[int]) -> dict[int, list[str]]:
    """Paths of the folders in which messages lie now, by message row."""
    found: dict[int, list[str]] = {}
    for some in chunks(row_ids):
        rows = connection.execute(
            sa.select(occurrences.c.row_id, folders.c.path)
            .join(folders, folders.c.id == occurrences.c.folder_id)
            .where(occurrences.c.row_id.in_(some), occurrences.c.removed_at.is_(None))
            .distinct()
            .order_by(folders.c.path)
        )
        for row_id, path in rows:
            found.setdefault(row_id, []).append(path)
    return found


def _terms(query: str) -> Iterator[tuple[bool, str | None, str]]:
    for term in _TERM.finditer(query):
        field, value = term["field"], term["value"]
        if field in _URL_SCHEMES:
            field, value = None, f"{field}:{value}"
        if field is not None and field not in _FIELDS:
            near = difflib.get_close_matches(field, _FIELDS, n=1)
            raise UsageError(
                f"there is no field {field}: to search in",
                remedy=f"{f'did you mean {near[0]}:? ' if near else ''}"
                f'quote "{field}:{value}" to search for the text itself; fields are '
                + " ".join(f"{each}:" for each in _FIELDS),
            )
        if field is None and value.removesuffix(":") in _FIELDS and value.endswith(":"):
            raise UsageError(f"{value} has no value", remedy=f"write {value}VALUE without a space")
        yield term["minus"] is not None, field, value.strip('"')


def _read(dialect: str, query: str) -> tuple[list[fulltext.Phrase], list[sa.ColumnElement[bool]]]:
    """What a query asks for: phrases that a message must have, and everything else."""
    phrases: list[fulltext.Phrase] = []
    conditions: list[sa.ColumnElement[bool]] = []
    for negative, field, value in _terms(query):
        if not value:
            raise UsageError("an empty phrase matches nothing")
        exact = _EXACT.get(field or "")
        if not exact and not negative:
            phrases.append(_phrase(value, field))
            continue
        condition = exact(value) if exact else fulltext.matches(dialect, [_phrase(value, field)])
        conditions.append(sa.not_(condition) if negative else condition)
    return phrases, conditions


def _phrase(value: str, field: str | None) -> fulltext.Phrase:
    if not re.search(r"\w", value):
        raise UsageError(f"{value!r} holds no letter or digit to search for")
    return fulltext.Phrase(value.rstrip("*"), _COLUMN_OF.get(field or ""), value.endswith("*"))


def _before(value: str) -> sa.ColumnElement[bool]:
    return messages.c.received_at < _date(value)


def _after(value: str) -> sa.ColumnElement[bool]:
    return messages.c.received_at >= _date(value)


def _date(value: str) -> datetime:
    parts = re.fullmatch(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?", value)
    try:
        if parts:
            year, month, day = (int(each or 1) for each in parts.groups())
            return datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        pass  # such as 2026-02-31: said below with the rest
    raise UsageError(f"{value!r} is not a date", remedy="write 2026, 2026-11 or 2026-11-30 (UTC)")


def _has(value: str) -> sa.ColumnElement[bool]:
    if value not in ("attachment", "attachments"):
        raise UsageError(f"has:{value} is not known", remedy="has:attachment is")
    return messages.c.attachment_count > 0


def _in_folder(value: str) -> sa.ColumnElement[bool]:
    named = sa.or_(
        sa.func.lower(folders.c.path) == value.lower(),
        sa.func.lower(folders.c.path).startswith(f"{value.lower()}/", autoescape=True),
        folders.c.role == value.lower(),
    )
    return messages.c.id.in_(
        sa.select(occurrences.c.row_id)
        .join(folders, folders.c.id == occurrences.c.folder_id)
        .where(named, occurrences.c.removed_at.is_(None))
    )


def _mailbox(value: str) -> sa.ColumnElement[bool]:
    return mailboxes.c.address == value.lower()


def _message_id(value: str) -> sa.ColumnElement[bool]:
    return messages.c.message_id == value.strip("<>")


_EXACT: dict[str, Callable[[str], sa.ColumnElement[bool]]] = {
    "in": _in_folder,
    "mailbox": _mailbox,
    "id": _message_id,
    "has": _has,
    "before": _before,
    "after": _after,
}
_FIELDS = [*_COLUMN_OF, *_EXACT]
