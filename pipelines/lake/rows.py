"""The rows of the two datasets, as the pipelines hand them over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.mime.record import NORMALISER_VERSION, Record


@dataclass(frozen=True, slots=True)
class RawRow:
    """The MIME as delivered, and the occurrence that delivered it."""

    raw_sha256: str
    mime: bytes
    message_key: str
    protocol: str
    folder: str
    native_id: str
    listed_size: int | None
    received_at: datetime
    received_by_server: bool
    """Whether ``received_at`` is the server's own; else the Date header or the time of the fetch."""
    flags: Sequence[str]
    fetched_at: datetime
    weak: bool = False
    """Whether they were matched to a message whose content differs; ``message_key`` is that message's."""
    fidelity: str = "mime"
    """``mime``: the message's own. Anything else names the form that a person accepted for it."""


@dataclass(frozen=True, slots=True)
class MessageRow:
    """The record, and the circumstances of the moment it was stored."""

    record: Record
    folders: Sequence[str]
    flags: Sequence[str]
    received_at: datetime
    protocol: str
    fetched_at: datetime
    fidelity: str = "mime"
    """``mime``: read from the message's own MIME. Anything else names the accepted form."""
    normaliser_version: int = NORMALISER_VERSION
