"""What a pass asks of all rows of a mailbox, without looking at them: sums, and rows of older versions."""

from dataclasses import dataclass

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


@dataclass(frozen=True)
class _Kept:
    """A column of ``owners`` that is the sum of ``value`` over the rows of ``table`` that are theirs."""

    owners: str
    name: str
    table: str
    owner: str
    depends_on: str
    value: str
    """In SQL, with ``{}`` before the column's name."""


_LIVE = "CASE WHEN {}removed_at IS NULL THEN 1 ELSE 0 END"
_ALL = (
    _Kept("folders", "live_occurrences", "occurrences", "folder_id", "removed_at", _LIVE),
    _Kept("mailboxes", "raw_bytes", "raws", "mailbox_id", "size", "{}size"),
)
_EVENTS = {"insert": {"new": "+"}, "update": {"old": "-", "new": "+"}, "delete": {"old": "-"}}
"""What a change of rows takes from the sum, and adds to it."""


def upgrade() -> None:
    """Fill the sums from the rows that are there; triggers keep them, in the transaction of each change."""
    op.create_index("ix_messages_file_id_normaliser_version", "messages", ["file_id", "normaliser_version"])
    op.drop_index("ix_messages_file_id", "messages")
    keep = _keep_by_statement if op.get_bind().dialect.name == "postgresql" else _keep_by_row
    for kept in _ALL:
        op.add_column(kept.owners, sa.Column(kept.name, sa.BigInteger(), nullable=False, server_default="0"))
        value = kept.value.format("")
        op.execute(
            f"UPDATE {kept.owners} SET {kept.name} = (SELECT coalesce(sum({value}), 0) "
            f"FROM {kept.table} WHERE {kept.owner} = {kept.owners}.id)"
        )
        for event, sides in _EVENTS.items():
            keep(kept, event, sides)


def _keep_by_row(kept: _Kept, event: str, sides: dict[str, str]) -> None:
    """SQLite tells a trigger of each row by itself."""
    steps = " ".join(
        f"UPDATE {kept.owners} SET {kept.name} = {kept.name} {sign} {kept.value.format(f'{side}.')} "
        f"WHERE id = {side}.{kept.owner};"
        for side, sign in sides.items()
    )
    columns = f"OF {kept.owner}, {kept.depends_on}" if event == "update" else ""
    op.execute(
        f"CREATE TRIGGER {kept.name}_{event} AFTER {event} {columns} ON {kept.table} BEGIN {steps} END"
    )


def _keep_by_statement(kept: _Kept, event: str, sides: dict[str, str]) -> None:
    """PostgreSQL tells of all rows of a statement at once: one new version of the owner, not one a row."""
    changed = " UNION ALL ".join(
        f"SELECT {kept.owner} AS owner, {sign}({kept.value.format('')}) AS value FROM {side}_rows"
        for side, sign in sides.items()
    )
    op.execute(
        f"CREATE FUNCTION {kept.name}_{event}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"UPDATE {kept.owners} SET {kept.name} = {kept.name} + change.value FROM ("
        f"SELECT owner, sum(value) AS value FROM ({changed}) AS changed GROUP BY owner HAVING sum(value) <> 0"
        f") AS change WHERE id = change.owner; RETURN NULL; END $$"
    )
    tables = " ".join(f"{side} TABLE AS {side}_rows" for side in sides)
    op.execute(
        f"CREATE TRIGGER {kept.name}_{event} AFTER {event} ON {kept.table} REFERENCING {tables} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {kept.name}_{event}()"
    )
