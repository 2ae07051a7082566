"""MIME bytes to a record, and the keys that name a message whichever protocol delivered it."""

from pipelines.mime.key import KEY_VERSION, header_key
from pipelines.mime.normalise import identity_from_headers, is_placeholder, normalise, plain_text
from pipelines.mime.record import (
    NORMALISER_VERSION,
    Address,
    Attachment,
    BounceRecipient,
    Identity,
    Meeting,
    Record,
)

__all__ = [
    "KEY_VERSION",
    "NORMALISER_VERSION",
    "Address",
    "Attachment",
    "BounceRecipient",
    "Identity",
    "Meeting",
    "Record",
    "header_key",
    "identity_from_headers",
    "is_placeholder",
    "normalise",
    "plain_text",
]
