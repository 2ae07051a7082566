"""The record: what Mailover knows of a message after reading its MIME."""

from datetime import datetime
from typing import NamedTuple

NORMALISER_VERSION = 3
"""Raised whenever the same bytes give another record; old rows are then rebuilt from ``raw``."""


class Address(NamedTuple):
    """A mailbox in a header: display name decoded, ``local@domain`` as written."""

    name: str
    address: str


class Identity(NamedTuple):
    """What a listing tells of a message: enough to recognise it without its body."""

    message_id: str | None
    sent_at: datetime | None
    sender: str | None
    subject: str
    header_key: str | None
    """``pipelines.mime.header_key`` of the four; None where there is too little to go by."""


class Attachment(NamedTuple):
    """A part that is not the message's own text; ``size`` and ``sha256`` are of the decoded content."""

    name: str | None
    media_type: str
    size: int
    sha256: str
    inline: bool
    content_id: str | None


class BounceRecipient(NamedTuple):
    """One per-recipient group of a delivery status (RFC 3464 §2.3)."""

    recipient: str
    action: str
    status: str
    diagnostic: str


class Meeting(NamedTuple):
    """What the first calendar part says (RFC 5545, RFC 5546)."""

    method: str
    uid: str
    summary: str


class Record(NamedTuple):
    """One message, decoded: every field for every input; what could not be read is in ``defects``."""

    message_key: str
    header_key: str | None
    """Digest of Message-ID, date, sender and subject: equal for the same mail however it is listed."""
    message_id: str | None
    """Without angle brackets and surrounding space; case kept."""
    subject: str
    sent_at: datetime | None
    """The Date header as an instant in UTC."""
    from_: tuple[Address, ...]
    sender: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    thread_id: str
    """The oldest message id the message refers to, else its own; a digest where it has none."""
    text: str | None
    html: str | None
    attachments: tuple[Attachment, ...]
    headers: bytes
    """The header block as delivered, through the line break before the empty line."""
    list_id: str | None
    auto_submitted: str | None
    bounce: tuple[BounceRecipient, ...]
    meeting: Meeting | None
    authentication_results: tuple[str, ...]
    defects: tuple[str, ...]
    """Short stable words, sorted, each once."""
    raw_sha256: str
    size: int
