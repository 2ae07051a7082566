"""From a message's parts to its bodies, attachments, bounce and meeting."""

import hashlib
import re
from collections.abc import Callable

from pipelines.mime import charsets
from pipelines.mime.key import attachment_digest, bytes_digest
from pipelines.mime.parts import Part
from pipelines.mime.record import Attachment, BounceRecipient, Meeting
from pipelines.mime.reports import bounce_recipients, meeting

_DELIVERY_STATUS = frozenset({"message/delivery-status", "message/global-delivery-status"})
_META_CHARSET = re.compile(rb"""(?i)<meta[^>]{0,200}?charset\s*=\s*["']?([\w-]+)""")


class Content:
    """What the parts of one message come to, added one after the other."""

    def __init__(self, nested_key: Callable[[bytes], str], defects: set[str]) -> None:
        self.attachments: list[Attachment] = []
        self.digests: list[str] = []
        """What each attachment means for the message key."""
        self.unreadable: list[str] = []
        """Digests of bodies that have no faithful text."""
        self.bounce: tuple[BounceRecipient, ...] = ()
        self.meeting: Meeting | None = None
        self._bodies: dict[str, list[str]] = {}
        self._chosen: set[tuple[int, str]] = set()
        self._nested_key = nested_key
        self._defects = defects

    @property
    def text(self) -> str | None:
        return self._joined("text/plain")

    @property
    def html(self) -> str | None:
        return self._joined("text/html")

    def add(self, part: Part) -> None:
        """Take the next part: as (more of) a body, else as an attachment."""
        kind = self._body_kind(part)
        if kind is None:
            self._attach(part)
            return
        text = self._text(part)
        if "\ufffd" in text:
            self.unreadable.append(bytes_digest(b" ".join(part.content.split())))
        self._chosen.add((part.group, kind))
        self._bodies.setdefault(kind, []).append(text)

    def _body_kind(self, part: Part) -> str | None:
        """``text/plain`` or ``text/html`` where the part is read as the message itself."""
        if part.disposition == "attachment":
            return None
        kind = part.media_type
        if not part.parent:
            whole = kind.startswith("text/") and kind not in ("text/calendar", "text/rfc822-headers")
            return ("text/html" if kind == "text/html" else "text/plain") if whole else None
        if kind not in ("text/plain", "text/html"):
            return None
        if part.parent == "alternative":
            return None if (part.group, kind) in self._chosen else kind
        named_file = part.name is not None and (self._bodies or part.disposition)
        return None if named_file else kind

    def _text(self, part: Part) -> str:
        charset = part.parameters.get("charset")
        if charset is None and part.media_type == "text/html" and not part.content.isascii():
            stated = _META_CHARSET.search(part.content[:4096])
            charset = stated[1].decode("ascii", "replace") if stated else None
        return charsets.decode_lines(part.content, charset, self._defects)

    def _attach(self, part: Part) -> None:
        content, media_type = part.content, part.media_type
        sha256 = hashlib.sha256(content).hexdigest()
        text = None
        if media_type.startswith("text/"):
            text = self._text(part)
            if media_type == "text/calendar" and self.meeting is None:
                self.meeting = meeting(text, part.parameters.get("method"))
            if "\ufffd" in text:
                text = None
        elif media_type in _DELIVERY_STATUS:
            self.bounce += bounce_recipients(content, self._defects)
        self.digests.append(attachment_digest(media_type, part.name, content, sha256, text, self._nested_key))
        self.attachments.append(
            Attachment(
                name=part.name,
                media_type=media_type,
                size=len(content),
                sha256=sha256,
                inline=part.disposition == "inline" or (part.content_id is not None and not part.disposition),
                content_id=part.content_id,
            )
        )

    def _joined(self, kind: str) -> str | None:
        found = self._bodies.get(kind)
        if found is None:
            return None
        return found[0] if len(found) == 1 else "\n".join([text.removesuffix("\n") for text in found]) + "\n"
