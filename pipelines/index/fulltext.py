"""The full-text index: SQLite's FTS5, holding words and no text.

A contentless table does not forget a row by itself, so a message whose text changes gets a
new ``text_id`` and no message has the old one; ``forget_unowned`` erases such texts.
"""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from pipelines.index.changes import NewMessage
from pipelines.mime.record import Address

COLUMNS = ("subject", "sender", "recipients", "attachments", "body")
_INSERT = sa.text(
    f"INSERT INTO message_text(rowid, {', '.join(COLUMNS)}) "  # noqa: S608 - the names above, nothing else
    f"VALUES (:rowid, {', '.join(':' + name for name in COLUMNS)})"
)
_LAST = sa.text("SELECT rowid FROM message_text ORDER BY rowid DESC LIMIT 1")

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


def next_id(connection: sa.Connection) -> int:
    """The first free ``text_id``; the open write transaction keeps it free."""
    return (connection.scalar(_LAST) or 0) + 1


def insert(connection: sa.Connection, first_id: int, new: Sequence[NewMessage]) -> None:
    """Index the messages' words under ``first_id`` and the ids that follow."""
    connection.execute(
        _INSERT,
        [
            {
                "rowid": first_id + offset,
                "subject": each.row.record.subject,
                "sender": people([*each.row.record.from_, *each.row.record.sender]),
                "recipients": people([*each.row.record.to, *each.row.record.cc, *each.row.record.bcc]),
                "attachments": "\n".join(part.name or "" for part in each.row.record.attachments),
                "body": each.text,
            }
            for offset, each in enumerate(new)
        ],
    )


def people(addresses: Iterable[Address]) -> str:
    """Names and addresses as one searchable text, a line each."""
    return "\n".join(f"{each.name} {each.address}".strip() for each in addresses)


def forget_unowned(connection: sa.Connection) -> int:
    """Erase the words of every text that no message has any more; returns how many texts.

    FTS5 deletes from a contentless table only what it is told word for word (its ``delete``
    command), so the words are read back from the index itself. ``optimize`` then writes the
    index anew without them; until then they would stand in older parts of it.
    """
    for statement in _GATHER:
        connection.exec_driver_sql(statement)
    texts = int(connection.exec_driver_sql("SELECT count(*) FROM unowned").scalar_one())
    if texts:
        connection.exec_driver_sql(_DELETE)
        connection.exec_driver_sql("INSERT INTO message_text(message_text) VALUES ('optimize')")
    for statement in _CLEAR:
        connection.exec_driver_sql(statement)
    return texts
