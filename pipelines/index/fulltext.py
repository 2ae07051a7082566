"""The full-text index: words, and no text.

On SQLite it is a contentless FTS5 table, which does not forget a row by itself: a message
whose words change (``text_digest``) gets a new ``text_id``, and no message has the old one;
``forget_unowned`` erases such texts. On PostgreSQL it is a table of ``tsvector`` columns with one GIN index,
whose rows go with their messages.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from pipelines.index.changes import NewMessage
from pipelines.index.inserting import copy, next_numbers
from pipelines.index.tables import messages
from pipelines.index.words import phrase, vector
from pipelines.mime.record import Address

COLUMNS = ("subject", "sender", "recipients", "attachments", "body")
_INSERT = (
    f"INSERT INTO message_text(rowid, {', '.join(COLUMNS)}) "  # noqa: S608 - the names above, nothing else
    f"VALUES (?, {', '.join('?' * len(COLUMNS))})"
)
_LAST = sa.text("SELECT rowid FROM message_text ORDER BY rowid DESC LIMIT 1")
_VECTORS = sa.table("message_text", sa.column("text_id"), *(sa.column(name) for name in COLUMNS))

_MANY = 5_000
"""Messages that are read and sorted in some milliseconds."""
_NEWEST = 2_000
"""So many hold as many as a search shows, where that share of all messages is reached."""

_WORDS = "SELECT doc, " + ", ".join(
    f"group_concat(CASE col WHEN '{name}' THEN term END, ' ')" for name in COLUMNS
)
_GATHER = (
    "CREATE VIRTUAL TABLE temp.message_words USING fts5vocab('main', 'message_text', 'instance')",
    "CREATE TEMP TABLE unowned (doc INTEGER PRIMARY KEY)",
    "INSERT INTO unowned SELECT id FROM message_text_docsize EXCEPT SELECT text_id FROM messages",
    f"CREATE TEMP TABLE unowned_words (doc INTEGER PRIMARY KEY, {', '.join(COLUMNS)})",
    f"INSERT INTO unowned_words {_WORDS} FROM message_words WHERE doc IN unowned GROUP BY doc",
)
"""The tokenizer leaves words that went through it as they are, which makes them fit for ``delete``."""
_DELETE = (
    f"INSERT INTO message_text(message_text, rowid, {', '.join(COLUMNS)}) "  # noqa: S608
    f"SELECT 'delete', doc, {', '.join(COLUMNS)} FROM unowned LEFT JOIN unowned_words USING (doc)"
)
_CLEAR = ("DROP TABLE unowned_words", "DROP TABLE unowned", "DROP TABLE message_words")


def new_ids(connection: sa.Connection, count: int, instead_of: Sequence[int] = ()) -> Sequence[int]:
    """Free values of ``text_id``; the open write transaction keeps them free.

    ``instead_of``: rows of messages whose words they are to replace.
    """
    if connection.dialect.name == "postgresql":
        old = sa.select(messages.c.text_id).where(messages.c.id.in_(instead_of))
        connection.execute(sa.delete(_VECTORS).where(_VECTORS.c.text_id.in_(old)))
        return next_numbers(connection, "message_text_ids", count)
    first = (connection.scalar(_LAST) or 0) + 1
    return range(first, first + count)


def insert(connection: sa.Connection, text_ids: Sequence[int], new: Sequence[NewMessage]) -> None:
    """Index the words of messages, whose rows are there, under these ids."""
    texts = zip(text_ids, map(_texts, new), strict=True)
    if connection.dialect.name == "postgresql":
        vectors = ((text_id, *map(vector, each)) for text_id, each in texts)
        copy(connection, "message_text", ("text_id", *COLUMNS), vectors)
    elif text_ids:
        connection.exec_driver_sql(_INSERT, [(text_id, *each) for text_id, each in texts])


def digest(message: NewMessage) -> str:
    """Of all that is indexed of a message: the same for the same words."""
    told = hashlib.blake2b(digest_size=16)
    # Text by text: together, a long one would be in memory twice more.
    for text in _texts(message):
        told.update(text.encode())
        told.update(b"\0")
    return told.hexdigest()


class Phrase(NamedTuple):
    """Words that stand one after the other."""

    words: str
    column: str | None
    """Where; None for anywhere."""
    begins: bool
    """Whether the last one is the beginning of a word."""

    def __str__(self) -> str:
        """As FTS5 writes it."""
        quoted = '"' + self.words.replace('"', '""') + '"' + ("*" if self.begins else "")
        return f"{self.column} : {quoted}" if self.column else quoted


def matches(
    dialect: str, phrases: Sequence[Phrase], among: tuple[int, int] | None = None
) -> sa.ColumnElement[bool]:
    """Whether a message has all of them. ``among``: the first and the last ``text_id`` to look at."""
    if dialect == "postgresql":
        found = [_in_vectors(phrase(each.words, begins=each.begins), each.column) for each in phrases]
        return sa.and_(*(messages.c.text_id.in_(each) for each in found))
    rows = _rows(phrases, among)
    return messages.c.text_id.in_(rows.columns(sa.column("rowid", sa.Integer)).scalar_subquery())


def are_frequent(connection: sa.Connection, phrases: Sequence[Phrase]) -> bool:
    """Whether so many messages have all of them that sorting these takes longer than to look at the newest.

    Never on PostgreSQL, which finds out by itself.
    """
    if connection.dialect.name == "postgresql":
        return False
    return len(connection.execute(_rows(phrases, None, limit=_MANY)).all()) == _MANY


def newest(connection: sa.Connection) -> tuple[datetime, tuple[int, int]] | None:
    """Since when the newest messages were received, and the first and last ``text_id`` of all since then."""
    by_time = sa.select(messages.c.received_at).order_by(messages.c.received_at.desc())
    since = connection.scalar(by_time.offset(_NEWEST).limit(1))
    if since is None:
        return None
    ends = sa.select(sa.func.min(messages.c.text_id), sa.func.max(messages.c.text_id))
    first, last = connection.execute(ends.where(messages.c.received_at >= since)).one()
    return since, (first, last)


def _rows(phrases: Sequence[Phrase], among: tuple[int, int] | None, limit: int = -1) -> sa.TextClause:
    # FTS5 joins two frequent words in a tenth of the time that the two lists of their messages take.
    wanted = " AND ".join(map(str, phrases))
    first, last = among or (0, 2**62)
    return sa.text(
        "SELECT rowid FROM message_text WHERE message_text MATCH :phrases "
        "AND rowid BETWEEN :first AND :last LIMIT :limit"
    ).bindparams(
        *(
            sa.bindparam(name, value, unique=True)
            for name, value in (("phrases", wanted), ("first", first), ("last", last), ("limit", limit))
        )
    )


def _in_vectors(query: str, column: str | None) -> sa.Select[int]:
    # A thirtieth of a second to import, which SQLite's users need not spend.
    from sqlalchemy.dialects.postgresql import TSQUERY

    wanted = sa.cast(query, TSQUERY)
    columns = (column,) if column else COLUMNS
    return sa.select(_VECTORS.c.text_id).where(
        sa.or_(*(_VECTORS.c[name].bool_op("@@")(wanted) for name in columns))
    )


def _texts(message: NewMessage) -> tuple[str, ...]:
    """What is indexed of a message, in the order of ``COLUMNS``."""
    record = message.row.record
    return (
        record.subject,
        people([*record.from_, *record.sender]),
        people([*record.to, *record.cc, *record.bcc]),
        "\n".join(part.name or "" for part in record.attachments),
        message.text,
    )


def people(addresses: Iterable[Address]) -> str:
    """Names and addresses as one searchable text, a line each."""
    return "\n".join(f"{each.name} {each.address}".strip() for each in addresses)


def forget_unowned(connection: sa.Connection) -> int:
    """Erase the words of every text that no message has any more; returns how many texts.

    FTS5 deletes from a contentless table only what it is told word for word (its ``delete``
    command), so the words are read back from the index itself. ``optimize`` then writes the
    index anew without them; until then they would stand in older parts of it. On PostgreSQL
    the words of a message have gone with its row, and nothing is left to do.
    """
    if connection.dialect.name == "postgresql":
        return 0
    for statement in _GATHER:
        connection.exec_driver_sql(statement)
    texts = int(connection.exec_driver_sql("SELECT count(*) FROM unowned").scalar_one())
    if texts:
        connection.exec_driver_sql(_DELETE)
        connection.exec_driver_sql("INSERT INTO message_text(message_text) VALUES ('optimize')")
    for statement in _CLEAR:
        connection.exec_driver_sql(statement)
    return texts
