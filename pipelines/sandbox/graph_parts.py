"""A message opened: its text, its HTML, and the parts that are attached to it."""

from dataclasses import dataclass

from pipelines.mime.content import Content
from pipelines.mime.fields import Block, after_envelope, read_block
from pipelines.mime.parts import Part, parts

_CALENDAR = "text/calendar"


@dataclass(frozen=True, slots=True)
class Opened:
    """What a mail store takes a message apart into."""

    text: str | None
    html: str | None
    attached: tuple[Part, ...]
    unreadable: bool
    """Whether a body has bytes that no text stands for."""
    block: Block
    defects: frozenset[str]
    nesting: frozenset[str]
    """The subtypes of the multiparts."""


def open_message(mime: bytes) -> Opened:
    """Take any bytes apart; never raises."""
    defects: set[str] = set()
    block = read_block(mime, after_envelope(mime, defects), len(mime), defects)
    content = Content(lambda _: "", defects)
    attached, nesting = [], set()
    for part in parts(mime, block, defects):
        nesting.add(part.parent)
        before = len(content.attachments)
        content.add(part)
        if len(content.attachments) > before:
            attached.append(part)
    return Opened(
        content.text,
        content.html,
        tuple(attached),
        bool(content.unreadable),
        block,
        frozenset(defects),
        frozenset(nesting),
    )


def is_file(part: Part) -> bool:
    """Whether it lies beside the message; a meeting's calendar is the message."""
    return not (part.media_type == _CALENDAR and part.parent in ("", "alternative"))


def is_inline(part: Part) -> bool:
    """Whether it is shown in the text."""
    return part.disposition == "inline" or (part.content_id is not None and not part.disposition)
