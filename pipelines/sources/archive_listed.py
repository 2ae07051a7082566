"""What an archive's folders were found to hold, kept in a temporary file: it may be any number."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pipelines.sources.archive_letters import Form, Where

_PAGE = 500


class Listed:
    """The native ids of each folder, and where their messages lie.

    A native id is the digest of the content; further copies in one folder of one archive are
    numbered, ``<digest>:2``. Copies in different archives have the same ids.
    """

    def __init__(self) -> None:
        # A database without a name is a file that SQLite deletes itself, and in memory while it is small.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE listed (folder TEXT, digest BLOB, copy INTEGER, root BLOB,"
            " path BLOB, form TEXT, at INTEGER, stop INTEGER,"
            " PRIMARY KEY (folder, digest, copy, root)) WITHOUT ROWID"
        )

    def add(self, folder: str, root: Path, digest: str, where: Where) -> str:
        """Note a message of an archive; its native id."""
        found = self._database.execute(
            "SELECT copy FROM listed WHERE folder = ? AND digest = ? AND root = ? ORDER BY copy DESC LIMIT 1",
            (folder, bytes.fromhex(digest), os.fsencode(root)),
        ).fetchone()
        copy = found[0] + 1 if found else 1
        self._database.execute(
            "INSERT INTO listed VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (folder, bytes.fromhex(digest), copy, os.fsencode(root), os.fsencode(where.path), *where[1:]),
        )
        return _native_id(bytes.fromhex(digest), copy)

    def where(self, folder: str, native_id: str) -> Where | None:
        """Where a message of that id lies; None where the folder has none."""
        found = self._database.execute(
            "SELECT path, form, at, stop FROM listed WHERE folder = ? AND digest = ? AND copy = ? LIMIT 1",
            (folder, *_read(native_id)),
        ).fetchone()
        return Where(Path(os.fsdecode(found[0])), Form(found[1]), *found[2:]) if found else None

    def drop(self, folder: str, native_id: str | None = None) -> None:
        """Forget a message that is not there any more, or the whole folder."""
        if native_id is None:
            self._database.execute("DELETE FROM listed WHERE folder = ?", (folder,))
        else:
            self._database.execute(
                "DELETE FROM listed WHERE folder = ? AND digest = ? AND copy = ?", (folder, *_read(native_id))
            )

    def ids(self, folder: str) -> Iterator[list[str]]:
        """Every native id of the folder once, in pages."""
        rows = self._database.execute("SELECT DISTINCT digest, copy FROM listed WHERE folder = ?", (folder,))
        while page := rows.fetchmany(_PAGE):
            yield [_native_id(*row) for row in page]

    def close(self) -> None:
        """Give the temporary file back."""
        self._database.close()


def _native_id(digest: bytes, copy: int) -> str:
    return digest.hex() if copy == 1 else f"{digest.hex()}:{copy}"


def _read(native_id: str) -> tuple[bytes, int]:
    """Digest and copy; those of nothing where it is no id of an archive."""
    digest, _, copy = native_id.partition(":")
    try:
        return bytes.fromhex(digest), int(copy or 1)
    except ValueError:
        return b"", 0
