"""Reading single messages back from the lake."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pipelines.errors import UsageError
from pipelines.index.lookup import Placed, find_message
from pipelines.index.search import folders_of
from pipelines.ingest.workspace import Workspace
from pipelines.lake.schema import message_row
from pipelines.mime import plain_text


def read_message(workspace: Workspace, key: str) -> dict[str, Any]:
    """A row of ``messages`` by its key or the beginning of it, as JSON values.

    ``folders`` are those in which it lies now; ``text`` is what a person would read of
    it, made from the HTML where there is no text. Raises ``UsageError`` for a key that
    names no message, or several.
    """
    placed, folders, row = _read(
        workspace, key, lambda each: (each.message_path, "message_key", each.message_key)
    )
    text = plain_text(message_row(row).record)
    row |= {"mailbox": placed.mailbox, "folders": folders or row["folders"], "text": text}
    row["headers"] = row["headers"].decode("utf-8", "replace")
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def read_mime(workspace: Workspace, key: str) -> bytes:
    """The bytes a message was read from. Raises ``UsageError`` as ``read_message`` does."""
    *_, row = _read(workspace, key, lambda each: (each.raw_path, "raw_sha256", each.raw_sha256))
    mime: bytes = row["mime"]
    return mime


def _read(
    workspace: Workspace, key: str, where: Callable[[Placed], tuple[str, str, str]]
) -> tuple[Placed, list[str], dict[str, Any]]:
    """The message, its folders and the row at ``where``: path, column, value."""
    for last in (False, True):
        placed, folders = _find(workspace, key)
        try:
            row = workspace.lake.find(*where(placed))
        except FileNotFoundError:
            # Its file has just given way to a merged one, which the index names by now.
            if last:
                raise
            continue
        assert row is not None, "the index names the file"
        return placed, folders, row
    raise AssertionError


def _find(workspace: Workspace, key: str) -> tuple[Placed, list[str]]:
    if not re.fullmatch(r"[0-9a-f]{4,40}", key):
        raise UsageError(
            f"{key!r} is not a message key", remedy="give at least four digits of a key that `search` shows"
        )
    with workspace.index.read() as connection:
        found = find_message(connection, key)
        folders = folders_of(connection, [found[0].row_id]) if found else {}
    if not found:
        raise UsageError(f"no message has the key {key}", remedy="`mailover search` shows keys")
    if len({each.message_key for each in found}) > 1:
        raise UsageError(f"{key} begins the keys of several messages", remedy="give more of it")
    return found[0], folders.get(found[0].row_id, [])
