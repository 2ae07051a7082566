"""Lake against index: hashes, counts, orphans. What is derived is repaired; damage to bytes is named."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.errors import LakeMismatchError, LeaseHeldError
from pipelines.index.kept import correct_sums
from pipelines.index.lease import Lease, hold
from pipelines.index.lookup import keys_in_file, messages_without_bytes
from pipelines.index.mailboxes import add_mailboxes
from pipelines.ingest.ownership import claim
from pipelines.ingest.rebuild import rebuild
from pipelines.ingest.workspace import Workspace
from pipelines.lake import Dataset

Progress = Callable[[str], None]
"""Told the path of each file as it is read."""


@dataclass(slots=True)
class Verification:
    """What was found in one mailbox's part of the lake."""

    mailbox: str
    files: int = 0
    messages: int = 0
    bytes: int = 0
    orphans_swept: int = 0
    repaired: list[str] = field(default_factory=list)
    """What was wrong and is right again."""
    damage: list[str] = field(default_factory=list)
    """What cannot be repaired from the lake: bytes that are lost or altered."""
    skipped: str | None = None
    """Why nothing was looked at: another run is writing the mailbox."""

    def to_json(self) -> dict[str, Any]:
        """The verification as ``--json`` prints it."""
        return {
            "mailbox": self.mailbox,
            "files": self.files,
            "messages": self.messages,
            "bytes": self.bytes,
            "orphans_swept": self.orphans_swept,
            "repaired": self.repaired,
            "damage": self.damage,
            "skipped": self.skipped,
        }


def verify(workspace: Workspace, address: str, progress: Progress = lambda _path: None) -> Verification:
    """Check a mailbox's lake against its index; rebuild the index where they do not fit."""
    found = Verification(address)
    configured = {each.address: each for each in workspace.config.mailboxes}.get(address)
    add_mailboxes(workspace.index, [(address, "legacy" if configured and configured.legacy else "graph")])
    try:
        with hold(workspace.index, address, workspace.clock) as lease:
            _check(workspace, lease, found, progress)
    except LeaseHeldError as held:
        found.skipped = held.message
    return found


def _check(workspace: Workspace, lease: Lease, found: Verification, progress: Progress) -> None:
    reason = _unfit(workspace, lease, found, progress)
    damaged = _check_bytes(workspace, lease, found, progress)
    if reason:
        rebuild(workspace, lease, progress, without=damaged)
        found.repaired.append(f"{reason}; the index was rebuilt from the lake")
    if correct_sums(workspace.index, lease, workspace.clock.now()):
        found.repaired.append("what the index keeps of folders' and mailbox's sizes was wrong; counted anew")
    with workspace.index.read() as connection:
        lost = messages_without_bytes(connection, lease.mailbox_id)
    if lost:
        found.damage.append(f"{len(lost)} messages have lost their bytes: {', '.join(lost[:5])} …")


def _unfit(workspace: Workspace, lease: Lease, found: Verification, progress: Progress) -> str | None:
    """Why the index has to be rebuilt, or None; unreadable files of ``messages`` are dropped on the way."""
    reason = None
    try:
        found.orphans_swept = claim(workspace.lake, workspace.index, lease)
    except LakeMismatchError as mismatch:
        reason = mismatch.message.removeprefix(f"{lease.address}: ")
    for path in sorted(workspace.lake.files(Dataset.MESSAGES, lease.address)):
        progress(path)
        found.files += 1
        try:
            rows = [
                row
                for batch in workspace.lake.read(path, ["message_key", "raw_sha256"])
                for row in batch.to_pylist()
            ]
        except (pa.ArrowInvalid, OSError):
            workspace.lake.delete(path)
            reason = f"{path} could not be read and was written anew from raw"
            continue
        found.messages += len(rows)
        with workspace.index.read() as connection:
            named = keys_in_file(connection, lease.mailbox_id, path)
        if {row["message_key"]: row["raw_sha256"] for row in rows} != named:
            reason = reason or f"{path} and its rows in the index differ"
    return reason


def _check_bytes(workspace: Workspace, lease: Lease, found: Verification, progress: Progress) -> set[str]:
    """Hash every message of ``raw``; returns the files that cannot be read."""
    unreadable = set()
    for path in sorted(workspace.lake.files(Dataset.RAW, lease.address)):
        progress(path)
        found.files += 1
        try:
            for batch in workspace.lake.read(path, ["raw_sha256", "mime"]):
                for digest, mime in zip(batch.column(0), batch.column(1), strict=True):
                    content = mime.as_buffer()
                    found.bytes += content.size
                    if hashlib.sha256(content).hexdigest() != digest.as_py():
                        found.damage.append(f"{path}: the bytes of {digest.as_py()} have changed")
        except (pa.ArrowInvalid, OSError) as error:
            found.damage.append(f"{path} cannot be read: {type(error).__name__}")
            unreadable.add(path)
    return unreadable
