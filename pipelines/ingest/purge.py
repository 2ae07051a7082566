"""Erasing a mailbox: every row, every word, every file. Repeatable after a crash at any point."""

import difflib
from dataclasses import dataclass, field
from typing import Any

from pipelines.errors import UsageError
from pipelines.index.fulltext import forget_unowned
from pipelines.index.lease import hold
from pipelines.index.mailboxes import add_mailboxes, all_addresses
from pipelines.index.purge import erase_mailbox, erase_rows
from pipelines.ingest.workspace import Workspace


@dataclass(slots=True)
class Purge:
    """What was erased of a mailbox."""

    mailbox: str
    configured: bool
    """Whether it is configured still: its next round reads it from the beginning."""
    rows: dict[str, int] = field(default_factory=dict)
    """By table of the index."""
    texts: int = 0
    """Messages whose words left the full-text index."""
    files: int = 0
    bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """The purge as ``--json`` prints it."""
        return {
            "mailbox": self.mailbox,
            "configured": self.configured,
            "rows": self.rows,
            "texts": self.texts,
            "files": self.files,
            "bytes": self.bytes,
        }


def known_mailbox(workspace: Workspace, address: str) -> str:
    """The address as lake and index have it. Raises ``UsageError`` for one that neither knows."""
    wanted = address.strip().lower()
    known = {*all_addresses(workspace.index), *workspace.lake.mailboxes()}
    if wanted in known:
        return wanted
    near = difflib.get_close_matches(wanted, known, n=1)
    raise UsageError(
        f"nothing is known of a mailbox {address!r}: neither lake nor index has it",
        remedy=f"did you mean {near[0]}?"
        if near
        else "check its spelling; `mailover status` names mailboxes",
    )


def purge(workspace: Workspace, address: str) -> Purge:
    """Erase a mailbox that ``known_mailbox`` knows. Raises ``LeaseHeldError`` while it is being read.

    The index forgets first, in one transaction, and the mailbox's own row goes last, so that
    whatever a crash leaves can be named, and erased, again.
    """
    index, now = workspace.index, workspace.clock.now
    configured = {each.address: each for each in workspace.config.mailboxes}.get(address)
    phase = "legacy" if configured and configured.legacy else "graph"
    done = Purge(address, configured is not None)
    add_mailboxes(index, [(address, phase)])
    with hold(index, address, workspace.clock) as lease:
        done.rows = erase_rows(index, lease, phase, now())
        done.files, done.bytes = workspace.lake.erase(address)
        with index.write() as connection:
            # On PostgreSQL words go with the rows of their messages.
            done.texts = forget_unowned(connection) or done.rows.get("messages", 0)
        index.scrub()
        if configured is None:
            erase_mailbox(index, lease, now())
    index.empty_log()
    return done
