"""Attachments as JSON, and their content."""

from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha512
from typing import Any

from pipelines.mime import normalise
from pipelines.mime.key import MESSAGE_TYPES
from pipelines.mime.parts import Part
from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_messages import MessageView, etag_key, shown_time
from pipelines.sandbox.graph_parts import is_file, is_inline, open_message
from pipelines.sandbox.graph_request import read_select

_PROPERTIES = (
    "id", "lastModifiedDateTime", "name", "contentType", "size", "isInline", "contentId", "contentLocation",
    "contentBytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attached:
    """One attachment of a message."""

    id: str
    part: Part
    view: MessageView

    @property
    def is_item(self) -> bool:
        """Whether it is a message itself."""
        return self.part.media_type in MESSAGE_TYPES


def attachments(view: MessageView) -> list[Attached]:
    """Every attachment of a message; ids are the same each time."""
    parts = [each for each in open_message(view.mime).attached if is_file(each)]
    return [Attached(_id(view, place), part, view) for place, part in enumerate(parts)]


def attachment(view: MessageView, attachment_id: str) -> Attached:
    """One of them. Raises ``GraphError``."""
    for each in attachments(view):
        if each.id == attachment_id:
            return each
    raise GraphError(404, "ErrorItemNotFound")


def attachment_select(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """``$select`` for attachments. Raises ``GraphError`` for a property that they do not have."""
    return read_select(names, _PROPERTIES, "attachment")


def attachment_json(attached: Attached, select: tuple[str, ...] | None) -> dict[str, Any]:
    """A fileAttachment with its content, or an itemAttachment."""
    part = attached.part
    kind = "itemAttachment" if attached.is_item else "fileAttachment"
    shown: dict[str, Any] = {
        "lastModifiedDateTime": shown_time(attached.view.message.modified_at),
        "name": _name(attached),
        "contentType": None if attached.is_item else part.media_type,
        "size": len(part.content) + 248,
        "isInline": is_inline(part),
    }
    if not attached.is_item:
        shown |= {
            "contentId": part.content_id,
            "contentLocation": None,
            "contentBytes": b64encode(part.content).decode(),
        }
    if select is not None:
        shown = {name: shown[name] for name in select if name in shown}
    return {
        "@odata.type": f"#microsoft.graph.{kind}",
        "@odata.mediaContentType": part.media_type,
        "@odata.etag": f'W/"{etag_key(attached.view.message)}"',
        "id": attached.id,
        **shown,
    }


def _name(attached: Attached) -> str:
    if attached.part.name or not attached.is_item:
        return attached.part.name or "attachment"
    return normalise(attached.part.content).subject or "message"


def _id(view: MessageView, place: int) -> str:
    digest = sha512(f"{view.message.immutable_id} {place}".encode()).digest()
    return urlsafe_b64encode(b"\0\x03\x24" + digest + digest[:22]).decode()
