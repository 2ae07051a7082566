"""What one pass over a mailbox did, for people, scripts and Dagster."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipelines.errors import MailoverError
from pipelines.index.changes import RoundAccount
from pipelines.index.parity import Parity


class Outcome(StrEnum):
    """How a mailbox's pass ended."""

    DONE = "done"
    ATTENTION = "attention"
    """Everything was accounted for, but a folder failed or quarantine grew."""
    BUSY = "busy"
    """Another run is writing the mailbox."""
    FAILED = "failed"


@dataclass(slots=True)
class MailboxReport:
    """One mailbox, one pass. Counts are of this pass; sizes are bytes."""

    mailbox: str
    protocol: str
    outcome: Outcome = Outcome.DONE
    rounds: list[RoundAccount] = field(default_factory=list)
    folder_errors: dict[str, MailoverError] = field(default_factory=dict)
    error: MailoverError | None = None
    compared: list[RoundAccount] = field(default_factory=list)
    """Rounds of the protocol that was compared with the lake."""
    compare_errors: dict[str, MailoverError] = field(default_factory=dict)
    """By folder; under an empty path what stopped the whole comparison."""
    parity: Parity | None = None
    messages: int = 0
    raws: int = 0
    files: int = 0
    lake_bytes: int = 0
    downloads: int = 0
    seconds: float = 0.0

    def total(self, count: str) -> int:
        """A count of the rounds' accounts, over all folders."""
        return sum(getattr(account, count) for account in self.rounds)

    def to_json(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "mailbox": self.mailbox,
            "protocol": self.protocol,
            "outcome": self.outcome.value,
            "error": str(self.error) if self.error else None,
            "folders": [
                {
                    "path": account.path,
                    "listed": account.listed,
                    "stored": account.stored,
                    "known": account.known,
                    "quarantined": account.quarantined,
                    "gone": account.gone,
                    "bytes": account.bytes,
                    "closed": account.closed_at is not None,
                    "notes": account.notes,
                    "error": str(self.folder_errors[account.path])
                    if account.path in self.folder_errors
                    else None,
                }
                for account in self.rounds
            ],
            "messages": self.messages,
            "downloads": self.downloads,
            "bytes": self.total("bytes"),
            "lake_bytes": self.lake_bytes,
            "files": self.files,
            "seconds": round(self.seconds, 3),
            "parity": self.parity.grade if self.parity else None,
            "compare_errors": {path: str(error) for path, error in self.compare_errors.items()},
        }
