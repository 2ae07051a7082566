"""How far a long read has come, how fast it goes, and how long it may take yet."""

from dataclasses import dataclass, field

from pipelines.clock import Clock
from pipelines.index.changes import RoundAccount
from pipelines.ingest.span import Span


@dataclass(slots=True)
class Advance:
    """One run of a mailbox's backfill; counts are of this run."""

    mailbox: str
    clock: Clock
    months: int = 0
    """Those of which something was left to read when the run began."""
    months_done: int = 0
    month: Span | None = None
    folder: str = ""
    waiting: bool = False
    """Another run has the mailbox."""
    _folders: int = 0
    _folders_done: int = 0
    _done: list[int] = field(default_factory=lambda: [0, 0, 0])
    _account: RoundAccount | None = None
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock.monotonic()

    def enter_month(self, month: Span, folders: int) -> None:
        """A month begins, with so many folders to read."""
        self.month, self._folders, self._folders_done = month, folders, 0

    def enter_folder(self, account: RoundAccount) -> None:
        """A folder begins."""
        self.folder, self._account = account.path, account

    def leave_folder(self) -> None:
        """It ends."""
        self._done, self._account = self._counts(), None
        self._folders_done += 1

    def leave_month(self) -> None:
        """The month ends, written down."""
        self.months_done, self.month = self.months_done + 1, None

    @property
    def listed(self) -> int:
        """Messages listed so far."""
        return self._counts()[0]

    @property
    def accounted(self) -> int:
        """Those of them that have their outcome."""
        return self._counts()[1]

    @property
    def bytes(self) -> int:
        """Bytes downloaded."""
        return self._counts()[2]

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return self.clock.monotonic() - self._started

    @property
    def share(self) -> float:
        """How much of the work is done, from 0 to 1: months count alike, and so do folders in a month."""
        if not self.months:
            return 1.0
        part = 0.0
        if self.month and self._folders:
            account = self._account
            inside = account.accounted / account.listed if account and account.listed else 0.0
            part = (self._folders_done + inside) / self._folders
        return (self.months_done + part) / self.months

    @property
    def remaining(self) -> float | None:
        """Seconds, if it goes on as it went; None as long as nothing can be said."""
        share = self.share
        return self.seconds * (1 - share) / share if share else None

    def _counts(self) -> list[int]:
        account = self._account
        now = [account.listed, account.accounted, account.bytes] if account else [0, 0, 0]
        return [done + more for done, more in zip(self._done, now, strict=True)]
