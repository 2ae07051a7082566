"""A mailbox read by one protocol, from nothing, into a lake of its own; and what came of it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import sqlalchemy as sa

from pipelines.index.tables import messages, occurrences, quarantine
from pipelines.ingest.importing import import_mail
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import MailboxReport
from pipelines.ingest.workspace import Workspace
from pipelines.sources.base import ProtocolName
from tests.equality.letters import Letter

CIRCUMSTANCE = frozenset({"protocol", "fetched_at", "received_at", "flags", "folders", "mailbox", "year"})
"""Columns that tell of the moment a row was stored."""
FORM = frozenset({"raw_sha256", "size", "headers", "defects"})
"""Columns that tell of the bytes in which a message came."""
Row = dict[str, Any]
_LIKE_MBOX = re.compile(rb"(?m)^>*From ")
"""Lines that look like the format's own."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What one listed id stands for."""

    message_key: str
    header_key: str | None
    raw_sha256: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one protocol brought."""

    report: MailboxReport
    rows: dict[str, Row]
    """Rows of ``messages`` by message key."""
    shown: dict[str, Stored]
    """Listed ids, by native id."""
    quarantined: dict[str, str]
    """Reasons, by native id."""

    def meanings(self, besides: frozenset[str]) -> dict[str, Row]:
        """The rows, without what depends on the protocol, and without ``besides``."""
        return {key: meaning(row, besides) for key, row in self.rows.items()}


def ingest(workspace: Workspace, address: str) -> Reading:
    """Read a mailbox once by the protocol that its configuration says."""
    return _read(workspace, address, lambda: ingest_mailbox(workspace, workspace.config.mailbox(address)))


def import_files(workspace: Workspace, address: str, path: Path) -> Reading:
    """Read mail files into a mailbox."""
    return _read(
        workspace, address, lambda: import_mail(workspace, workspace.config.mailbox(address), [path])
    )


def write_files(letters: list[Letter], root: Path) -> Path:
    """The letters as files of an Inbox, in an mbox where that can hold them and as .eml in turn."""
    inbox = root / "Inbox"
    inbox.mkdir(parents=True)
    with (root / "Inbox.mbox").open("wb") as box:
        for number, letter in enumerate(letters):
            if number % 2 or _LIKE_MBOX.search(letter.mime):
                (inbox / f"{number}.eml").write_bytes(letter.mime)
            else:
                box.write(b"From kim@contoso.com Sat Mar  1 09:00:00 2025\r\n" + letter.mime + b"\r\n")
    return root


def _read(workspace: Workspace, address: str, read: Callable[[], MailboxReport]) -> Reading:
    report = read()
    assert report.error is None, report.error
    assert report.folder_errors == {}, report.folder_errors
    dataset = pads.dataset(Path(workspace.lake.root) / "messages", partitioning="hive")
    rows = {row["message_key"]: row for row in dataset.to_table().to_pylist()}
    with workspace.index.read() as connection:
        shown = connection.execute(
            sa.select(
                occurrences.c.native_id,
                messages.c.message_key,
                messages.c.header_key,
                occurrences.c.raw_sha256,
            ).join(messages, messages.c.id == occurrences.c.row_id)
        )
        held = connection.execute(sa.select(quarantine.c.native_id, quarantine.c.reason))
        return Reading(
            report,
            rows,
            {native_id: Stored(*rest) for native_id, *rest in shown},
            {row.native_id: row.reason for row in held},
        )


def differing_rows(one: Reading, other: Reading, keys: Iterable[str]) -> list[str]:
    """Those of ``keys`` under which ``other`` has another row than ``one``.

    Protocols that deliver the same bytes have to agree in every column, others in what it means.
    What ``other`` has in quarantine has no row.
    """
    same_bytes = ProtocolName.GRAPH not in (one.report.protocol, other.report.protocol)
    besides = frozenset[str]() if same_bytes else FORM
    expected, told = one.meanings(besides), other.meanings(besides)
    lost = len(other.quarantined)
    return [key for key in keys if (key in told or not lost) and told.get(key) != expected.get(key)]


def meaning(row: Row, besides: frozenset[str]) -> Row:
    """What a row says of the message, whichever protocol brought it."""
    told = {name: value for name, value in row.items() if name not in CIRCUMSTANCE | besides}
    if besides == FORM:
        for name in ("from", "sender", "reply_to", "to", "cc", "bcc"):
            told[name] = [(" ".join(each["name"].split()), each["address"]) for each in told[name]]
        told["attachments"] = sorted(map(_attachment, told["attachments"]))
    return told


def _attachment(attached: Row) -> str:
    """What servers that make MIME anew leave of an attachment.

    Text, reports and messages are encoded anew, so that their bytes differ, and text is not shown
    inline; a meeting's calendar has no name.
    """
    kept = dict(attached)
    if kept["media_type"].startswith(("text/", "message/")):
        kept |= {"size": 0, "sha256": "", "inline": False}
    if kept["media_type"] == "text/calendar":
        kept["name"] = None
    return repr(sorted(kept.items(), key=lambda each: each[0]))
