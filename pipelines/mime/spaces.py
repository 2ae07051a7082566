"""White space folded: what differs between two deliveries of one text."""

import re
from collections.abc import Iterator

_SPACE = re.compile(r"\s")
_PIECE = 1 << 16
"""Characters that are split into words at once: words take ten times the memory of their text."""


def folded(text: str) -> str:
    """White space runs as one space, none at the ends."""
    if len(text) <= _PIECE:
        return _folded(text)
    return " ".join(filter(None, map(_folded, _pieces(text))))


def _folded(text: str) -> str:
    if "\n\n" not in text and "\xa0" not in text:
        line = text.replace("\n", " ")
        # The space is the only white space that is printable: no word needs to be looked at.
        if "  " not in line and line.isprintable():
            return line.strip(" ")
    return " ".join(text.split())


def _pieces(text: str) -> Iterator[str]:
    """The text, cut before white space."""
    start = 0
    while start < len(text):
        cut = _SPACE.search(text, start + _PIECE)
        end = cut.start() if cut else len(text)
        yield text[start:end]
        start = end
