"""Arrow schemas of the datasets, and rows to tables.

``mailbox`` and ``year`` are hive partition columns: they stand in the path, not in the
files, because readers refuse a column that is both.
"""

from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeVar

import pyarrow as pa

from pipelines.lake.rows import MessageRow, RawRow
from pipelines.mime.record import (
    Address,
    Attachment,
    BounceRecipient,
    Meeting,
    Record,
)

SCHEMA_VERSION = 1
"""Raised when a column of either dataset changes name or type."""

INSTANT = pa.timestamp("us", tz="UTC")
# Arrow takes a named tuple as a struct: fields in the order in which the record has them.
ADDRESS = pa.struct([("name", pa.string()), ("address", pa.string())])
ATTACHMENT = pa.struct(
    [
        ("name", pa.string()),
        ("media_type", pa.string()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("inline", pa.bool_()),
        ("content_id", pa.string()),
    ]
)
BOUNCE = pa.struct(
    [
        ("recipient", pa.string()),
        ("action", pa.string()),
        ("status", pa.string()),
        ("diagnostic", pa.string()),
    ]
)
MEETING = pa.struct([("method", pa.string()), ("uid", pa.string()), ("summary", pa.string())])

_VERSION = {b"mailover.schema": str(SCHEMA_VERSION).encode()}
_ADDRESS_COLUMNS = {
    "from_": "from",
    "sender": "sender",
    "reply_to": "reply_to",
    "to": "to",
    "cc": "cc",
    "bcc": "bcc",
}
_WORD_LISTS = ("in_reply_to", "references", "authentication_results", "defects")
_PLAIN_FIELDS = (
    "message_key",
    "header_key",
    "message_id",
    "subject",
    "sent_at",
    "thread_id",
    "text",
    "html",
    "headers",
    "list_id",
    "auto_submitted",
    "raw_sha256",
    "size",
)

Row = TypeVar("Row")
Columns = dict[str, tuple[pa.DataType, Callable[[Row], Any]]]


def _read_addresses(values: Sequence[dict[str, str]]) -> tuple[Address, ...]:
    return tuple(Address(**each) for each in values)


RAW_COLUMNS: Columns[RawRow] = {
    "raw_sha256": (pa.string(), lambda row: row.raw_sha256),
    "mime": (pa.large_binary(), lambda row: row.mime),
    "message_key": (pa.string(), lambda row: row.message_key),
    "protocol": (pa.string(), lambda row: row.protocol),
    "folder": (pa.string(), lambda row: row.folder),
    "native_id": (pa.string(), lambda row: row.native_id),
    "listed_size": (pa.int64(), lambda row: row.listed_size),
    "received_at": (INSTANT, lambda row: row.received_at),
    "received_by_server": (pa.bool_(), lambda row: row.received_by_server),
    "flags": (pa.list_(pa.string()), lambda row: list(row.flags)),
    "fetched_at": (INSTANT, lambda row: row.fetched_at),
    "weak": (pa.bool_(), lambda row: row.weak),
    "fidelity": (pa.string(), lambda row: row.fidelity),
}

MESSAGE_COLUMNS: Columns[MessageRow] = {
    "message_key": (pa.string(), lambda row: row.record.message_key),
    "message_id": (pa.string(), lambda row: row.record.message_id),
    "subject": (pa.string(), lambda row: row.record.subject),
    "sent_at": (INSTANT, lambda row: row.record.sent_at),
    "received_at": (INSTANT, lambda row: row.received_at),
    "from": (pa.list_(ADDRESS), lambda row: row.record.from_),
    "sender": (pa.list_(ADDRESS), lambda row: row.record.sender),
    "reply_to": (pa.list_(ADDRESS), lambda row: row.record.reply_to),
    "to": (pa.list_(ADDRESS), lambda row: row.record.to),
    "cc": (pa.list_(ADDRESS), lambda row: row.record.cc),
    "bcc": (pa.list_(ADDRESS), lambda row: row.record.bcc),
    "in_reply_to": (pa.list_(pa.string()), lambda row: row.record.in_reply_to),
    "references": (pa.list_(pa.string()), lambda row: row.record.references),
    "thread_id": (pa.string(), lambda row: row.record.thread_id),
    "folders": (pa.list_(pa.string()), lambda row: list(row.folders)),
    "flags": (pa.list_(pa.string()), lambda row: list(row.flags)),
    "text": (pa.large_string(), lambda row: row.record.text),
    "html": (pa.large_string(), lambda row: row.record.html),
    "attachments": (pa.list_(ATTACHMENT), lambda row: row.record.attachments),
    "headers": (pa.binary(), lambda row: row.record.headers),
    "list_id": (pa.string(), lambda row: row.record.list_id),
    "auto_submitted": (pa.string(), lambda row: row.record.auto_submitted),
    "bounce": (pa.list_(BOUNCE), lambda row: row.record.bounce),
    "meeting": (MEETING, lambda row: row.record.meeting),
    "authentication_results": (pa.list_(pa.string()), lambda row: row.record.authentication_results),
    "defects": (pa.list_(pa.string()), lambda row: row.record.defects),
    "raw_sha256": (pa.string(), lambda row: row.record.raw_sha256),
    "size": (pa.int64(), lambda row: row.record.size),
    "header_key": (pa.string(), lambda row: row.record.header_key),
    "protocol": (pa.string(), lambda row: row.protocol),
    "fetched_at": (INSTANT, lambda row: row.fetched_at),
    "fidelity": (pa.string(), lambda row: row.fidelity),
    "normaliser_version": (pa.int32(), lambda row: row.normaliser_version),
}


def _schema(columns: Columns[Row]) -> pa.Schema:
    return pa.schema([(name, kind) for name, (kind, _) in columns.items()], metadata=_VERSION)


RAW_SCHEMA = _schema(RAW_COLUMNS)
MESSAGES_SCHEMA = _schema(MESSAGE_COLUMNS)


def _table(rows: Sequence[Row], columns: Columns[Row], schema: pa.Schema) -> pa.Table:
    arrays = [_array([value(row) for row in rows], kind) for kind, value in columns.values()]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind != pa.large_binary():
        return pa.array(values, kind)
    # Messages, none of them missing: joined at once, where Arrow would copy them whenever it needs room.
    offsets = array("q", accumulate(map(len, values), initial=0))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(kind, len(values), buffers)


def raw_table(rows: Sequence[RawRow]) -> pa.Table:
    """The ``raw`` dataset's table for these rows."""
    return _table(rows, RAW_COLUMNS, RAW_SCHEMA)


def message_row(values: dict[str, Any]) -> MessageRow:
    """A row of ``messages`` as the pipelines know it, from what a reader of the dataset gets."""
    fields: dict[str, Any] = {
        **{name: values[name] for name in _PLAIN_FIELDS},
        **{field: _read_addresses(values[column]) for field, column in _ADDRESS_COLUMNS.items()},
        **{name: tuple(values[name]) for name in _WORD_LISTS},
        "attachments": tuple(Attachment(**each) for each in values["attachments"]),
        "bounce": tuple(BounceRecipient(**each) for each in values["bounce"]),
        "meeting": values["meeting"] and Meeting(**values["meeting"]),
    }
    return MessageRow(
        record=Record(**fields),
        folders=values["folders"],
        flags=values["flags"],
        received_at=values["received_at"],
        protocol=values["protocol"],
        fetched_at=values["fetched_at"],
        fidelity=values["fidelity"],
        normaliser_version=values["normaliser_version"],
    )


def messages_table(rows: Sequence[MessageRow]) -> pa.Table:
    """The ``messages`` dataset's table for these rows."""
    return _table(rows, MESSAGE_COLUMNS, MESSAGES_SCHEMA)
