"""What one pass over a mailbox did, for people, scripts and Dagster."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from pipelines.errors import MailoverError
from pipelines.index.changes import RoundAccount
from pipelines.index.parity import Parity
from pipelines.ingest.batch import Totals
from pipelines.ingest.span import Span

_COUNTS = ("listed", "stored", "known", "quarantined", "gone", "bytes")


class Outcome(StrEnum):
    """How a mailbox's pass ended."""

    DONE = "done"
    ATTENTION = "attention"
    """Everything was accounted for, but a folder failed or quarantine grew."""
    BUSY = "busy"
    """Another run is writing the mailbox."""
    FAILED = "failed"


class Ending(Protocol):
    """How work on one mailbox ended, whatever the work was."""

    outcome: Outcome
    error: MailoverError | None
    seconds: float


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
                account_json(account, self.folder_errors.get(account.path)) for account in self.rounds
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


@dataclass(slots=True)
class MonthReport:
    """One month of a mailbox's backfill, whether read now or by an earlier run of it."""

    span: Span
    accounts: list[RoundAccount] = field(default_factory=list)
    errors: dict[str, MailoverError] = field(default_factory=dict)
    """By folder path: what could not be read to the end."""
    brought: Totals = field(default_factory=Totals)
    """Into the lake, by this run."""

    def total(self, count: str) -> int:
        """A count of the accounts, over all folders."""
        return sum(getattr(account, count) for account in self.accounts)

    def to_json(self) -> dict[str, Any]:
        """The month as ``--json`` prints it; folders only where there was something."""
        return {
            "from": f"{self.span.since:%Y-%m-%d}",
            "to": f"{self.span.before:%Y-%m-%d}",
            **{count: self.total(count) for count in _COUNTS},
            "folders": [
                account_json(account, self.errors.get(account.path))
                for account in self.accounts
                if account.listed or account.path in self.errors
            ],
        }


@dataclass(slots=True)
class BackfillReport(MailboxReport):
    """One mailbox, one run of a backfill, with the months that earlier runs of it have read."""

    span: Span = field(kw_only=True)
    months: list[MonthReport] = field(default_factory=list)

    def add(self, month: MonthReport) -> None:
        """Take a month's results in."""
        self.months.append(month)
        self.rounds += month.accounts
        self.folder_errors |= {
            f"{month.span.since:%Y-%m} {path}": each for path, each in month.errors.items()
        }
        self.messages += month.brought.messages
        self.raws += month.brought.raws
        self.files += month.brought.files
        self.lake_bytes += month.brought.bytes
        self.downloads += month.brought.downloads

    @property
    def needs_attention(self) -> bool:
        """Whether something could not be read, or is in quarantine."""
        return bool(self.folder_errors or self.total("quarantined"))

    def undone(self) -> list[str]:
        """Why it is not finished: the mailbox's error, and a line for each folder and reason."""
        told = [str(self.error)] if self.error else []
        months: dict[tuple[str, str], list[str]] = {}
        for month in self.months:
            for path, error in month.errors.items():
                if str(error) not in told:
                    months.setdefault((path, str(error)), []).append(f"{month.span.since:%Y-%m}")
        return told + [
            f"{path} in {first}{f' and {len(more)} more months' if more else ''}: {error}"
            for (path, error), (first, *more) in months.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """The report as ``--json`` prints it, with months instead of folders."""
        told = MailboxReport.to_json(self)
        del told["folders"]
        return told | {
            "from": f"{self.span.since:%Y-%m-%d}",
            "to": f"{self.span.before:%Y-%m-%d}",
            "months": [month.to_json() for month in self.months],
        }


def account_json(account: RoundAccount, error: MailoverError | None) -> dict[str, Any]:
    """What became of one folder's walk."""
    return {
        "path": account.path,
        **{count: getattr(account, count) for count in _COUNTS},
        "closed": account.closed_at is not None,
        "notes": account.notes,
        "error": str(error) if error else None,
    }
