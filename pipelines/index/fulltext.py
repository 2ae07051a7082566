"""The full-text index: SQLite's FTS5, holding words and no text.

A contentless table cannot forget a row, so a message whose text changes gets a new
``text_id`` and the old row points nowhere.
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
