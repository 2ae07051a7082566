"""The invariants as questions to lake and index: cheap enough to ask after every pass."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipelines.index.lookup import messages_without_bytes, newest_rounds, row_of_mailbox
from pipelines.index.quarantine import quarantine_totals
from pipelines.ingest.workspace import Workspace
from pipelines.lake import Dataset

_HASHED_FILES = 1
"""How many of the newest raw files are hashed; ``mailover verify`` hashes all."""


@dataclass(slots=True)
class CheckResult:
    """What a check saw in one mailbox."""

    passed: bool
    summary: str
    figures: dict[str, int] = field(default_factory=dict)


def nothing_lost(workspace: Workspace, address: str) -> CheckResult:
    """Every folder's newest round is closed, adds up, and agrees with the server's count."""
    with workspace.index.read() as connection:
        rounds = newest_rounds(connection, row_of_mailbox(connection, address))
    open_ = [each.path for each in rounds if each.closed_at is None]
    unequal = [each.path for each in rounds if each.closed_at and each.server_count != each.lake_count]
    figures = {
        name: sum(getattr(each, name) for each in rounds)
        for name in ("listed", "stored", "known", "quarantined", "gone")
    }
    faults = [f"round not closed: {path}" for path in open_]
    faults += [f"counts differ: {path}" for path in unequal]
    return CheckResult(
        not faults,
        "; ".join(faults) or "every listed id has its outcome",
        {"folders": len(rounds), **figures},
    )


def nothing_twice(workspace: Workspace, address: str) -> CheckResult:
    """A plain reader of ``messages`` finds every message key once."""
    keys: Counter[str] = Counter()
    for path in workspace.lake.files(Dataset.MESSAGES, address):
        for batch in workspace.lake.read(path, ["message_key"]):
            keys.update(batch.column(0).to_pylist())
    doubled = [key for key, count in keys.items() if count > 1]
    return CheckResult(
        not doubled,
        f"{len(doubled)} messages stand twice, such as {doubled[0]}" if doubled else "every message once",
        {"messages": len(keys), "doubled": len(doubled)},
    )


def bytes_are_kept(workspace: Workspace, address: str) -> CheckResult:
    """Every message has its bytes, and the newest of them have the hash they came with."""
    with workspace.index.read() as connection:
        lost = messages_without_bytes(connection, row_of_mailbox(connection, address))
    newest = sorted(workspace.lake.files(Dataset.RAW, address), key=_order)[-_HASHED_FILES:]
    hashed = altered = 0
    for path in newest:
        for batch in workspace.lake.read(path, ["raw_sha256", "mime"]):
            for digest, mime in zip(batch.column(0), batch.column(1), strict=True):
                hashed += 1
                altered += hashlib.sha256(mime.as_buffer()).hexdigest() != digest.as_py()
    return CheckResult(
        not lost and not altered,
        f"{len(lost)} messages without bytes, {altered} of {hashed} hashes differ",
        {"without_bytes": len(lost), "hashed": hashed, "altered": altered},
    )


def quarantine_is_empty(workspace: Workspace, address: str) -> CheckResult:
    """Every message that the server lists could be had."""
    with workspace.index.read() as connection:
        mailbox_id = row_of_mailbox(connection, address)
        held = quarantine_totals(connection, mailbox_id).get(mailbox_id, [])
    count = sum(each.count for each in held)
    if not count:
        return CheckResult(True, "every message could be had", {"quarantine": 0})
    age = workspace.clock.now() - min(each.oldest for each in held)
    reasons = ", ".join(f"{each.count} {each.reason}" for each in held)
    return CheckResult(
        False,
        f"{reasons}; the oldest for {age.days} days; `mailover quarantine list` says what to do",
        {"quarantine": count, "oldest_days": age.days},
    )


def _order(path: str) -> tuple[int, ...]:
    """By epoch and commit: the file names' own order."""
    return tuple(int(part) for part in PurePosixPath(path).stem.split("-")[1:])
