"""What one commit makes true: the values that ``pipelines.index.commit`` writes."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pipelines.lake import DataFile, Dataset, MessageRow
from pipelines.mime.record import Identity


class Evidence(StrEnum):
    """Why an occurrence is taken for its message."""

    BYTES = "bytes"
    """These very bytes are in the lake."""
    KEY = "key"
    """Other bytes, the same message key; both are kept."""
    LISTING = "listing"
    """Recognised in a fresh listing by identity, time and size; nothing was downloaded."""
    ID = "id"
    """The same mailbox-wide id, with the same content, lay in another folder; nothing was downloaded."""
    WEAK = "weak"
    """Another protocol's only message of the same Message-ID, date, sender and subject, with other
    content; both bytes are kept."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file of the lake that another thread writes."""

    dataset: Dataset
    rows: int
    published: Future[DataFile]


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message the mailbox did not have, and the file its row stands in."""

    row: MessageRow
    received_by_server: bool
    file: str
    text: str
    """What a person would read of it, for the full-text index."""


@dataclass(frozen=True, slots=True)
class NewRaw:
    """Bytes the mailbox did not have."""

    raw_sha256: str
    message_key: str
    size: int
    file: str
    protocol: str
    own_key: str | None = None
    """Matched by ``Evidence.WEAK``: the key of the message that it would be if it were read by itself."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An id as a folder's listing showed it."""

    folder_id: int
    native_id: str
    size: int | None
    received_at: datetime | None
    flags: tuple[str, ...]
    content_mark: str | None = None


@dataclass(frozen=True, slots=True)
class NewOccurrence:
    """A listed id that stands for a message of the lake."""

    listed: Listed
    message_key: str
    raw_sha256: str | None
    """The bytes that came under this id; None where nothing was downloaded."""
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A listed id whose message could not be had or read."""

    listed: Listed
    reason: str
    detail: str
    fallback_sha256: str | None = None
    identity: Identity | None = None
    """As the listing told it, where it did."""
    fidelity: str | None = None
    """How the fallback was made, where it can stand for the message."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A person's word that a quarantined message's fallback stands for it."""

    row_id: int
    """Of the entry."""
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unmatched:
    """An id of the compared protocol for which the lake has no message."""

    listed: Listed
    protocol: str
    own_key: str | None
    """The message that it is, should it come into the lake; None where its body was not fetched."""
    may_match_later: bool
    """Whether it was changed too lately to pass for another protocol's form of a message that is there."""
    header_key: str | None
    message_id: str | None
    subject: str


@dataclass(frozen=True, slots=True)
class Window:
    """What a backfill reads at a time: received from ``since`` up to, not at, ``before`` (UTC)."""

    backfill_id: int
    since: datetime
    before: datetime


@dataclass(frozen=True, slots=True)
class Superseded:
    """A message read from an accepted form, and the message that its own MIME turned out to be."""

    row_id: int
    form_key: str
    message_key: str


@dataclass(slots=True)
class RoundAccount:
    """One walk of one folder: every id it listed ends in exactly one of the counts."""

    folder_id: int
    path: str
    started_at: datetime
    listed: int = 0
    stored: int = 0
    known: int = 0
    quarantined: int = 0
    gone: int = 0
    unmatched: int = 0
    """Of a compared protocol only: ids for which the lake has no message; the lake gets none."""
    bytes: int = 0
    server_count: int | None = None
    lake_count: int | None = None
    notes: list[str] = field(default_factory=list)
    closed_at: datetime | None = None
    window: Window | None = None
    """What was walked instead of all from the cursor on."""
    row_id: int | None = None

    @property
    def accounted(self) -> int:
        """How many ids have their outcome."""
        return self.stored + self.known + self.quarantined + self.gone + self.unmatched

    @property
    def adds_up(self) -> bool:
        """Whether every listed id has its outcome."""
        return self.listed == self.accounted


@dataclass(slots=True)
class Changes:
    """The contents of one commit."""

    files: dict[str, NewFile] = field(default_factory=dict)
    """By path in the lake."""
    messages: list[NewMessage] = field(default_factory=list)
    raws: list[NewRaw] = field(default_factory=list)
    occurrences: list[NewOccurrence] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    edited: list[NewOccurrence] = field(default_factory=list)
    """Ids that stood for a message and were fetched again, since the listing shows other content."""
    marks: dict[int, dict[str, str]] = field(default_factory=dict)
    """Marks of content by folder and native id, for occurrences that had none."""
    accepted: list[Accepted] = field(default_factory=list)
    still_missing: list[Listed] = field(default_factory=list)
    """Accepted before, asked for once more, and still not to be had."""
    superseded: list[Superseded] = field(default_factory=list)
    rewritten: dict[str, str | None] = field(default_factory=dict)
    """Files of ``messages`` that held them, and the files that hold the rest of their rows now."""
    gone: list[Listed] = field(default_factory=list)
    """Listed, and no longer there when asked for."""
    revived: dict[int, set[str]] = field(default_factory=dict)
    """Native ids by folder that were taken for removed and are listed again."""
    ended: dict[int, set[str]] = field(default_factory=dict)
    """Native ids by folder that the server does not list any more."""
    unmatched: list[Unmatched] = field(default_factory=list)
    rounds: list[RoundAccount] = field(default_factory=list)
    cursors: dict[int, str] = field(default_factory=dict)
    swept: set[int] = field(default_factory=set)
    """Folders all of whose ids were listed."""
