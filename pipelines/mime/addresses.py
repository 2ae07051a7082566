"""Address lists (RFC 5322 §3.4 and §4.4), and the spellings that are sent in their place."""

import re

from pipelines.mime.record import Address
from pipelines.mime.words import raw_text, words_text

# One address with nothing odd about it; anything else goes the long way.
_SIMPLE = re.compile(
    r"""\s*+(?:(?:"([^"\\]*)"|([^"<>(),;:@\\\[\]=?]*)|((?:=\?[^?\s]+\?[bBqQ]\?[^?]*\?=\s*+)+))\s*+<([^<>\s"(),;:\\]+)>"""
    r"""|([^<>\s"(),;:\\@]+@[^<>\s"(),;:\\@]+))\s*+(?:,|\Z)"""
)
_TOKEN = re.compile(
    r"""(?P<word>=\?[^?\s]+\?[bBqQ]\?[^?]*\?=)|"(?P<quoted>[^"\\]*+(?:\\.[^"\\]*+)*+)"?|<(?P<angle>[^<>]*)>?"""
    r"""|(?P<literal>\[[^\]]*\]?)|(?P<mark>[,;:])|(?P<text>[^"(<,;:\[=]+|.)""",
    re.DOTALL,
)
_SPEC = re.compile(r'(?:"[^"]*"|(?<![^\s"<>])[^\s"<>@]+)@[^\s<>"]*')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_COMMENT = re.compile(r"\([^()]*\)")
_INSIDE = re.compile(r"(.*)<([^<>\s]+@[^<>\s]+)>\s*", re.DOTALL)


def parse_addresses(value: bytes, defects: set[str]) -> list[Address]:
    """The mailboxes of an unfolded address header; groups are flattened, comments become names."""
    text = raw_text(value, defects)
    found: list[Address] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _SIMPLE.match(text, position)
        if match is None:
            return _Reader(text, defects).addresses
        quoted, plain, encoded, angle, bare = match.groups()
        name = quoted if quoted is not None else plain or encoded
        found.append(Address(words_text(name, defects) if name else "", angle or bare))
        position = match.end()
    return found


def _comment(text: str, start: int) -> tuple[str, int]:
    """The comment that opens at ``start``, without its parentheses, and where it ends."""
    depth, position = 0, start
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 1
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return text[start + 1 : position], position + 1
        position += 1
    return text[start + 1 :], len(text)


class _Reader:
    """One pass over an address list, one entry at a time."""

    def __init__(self, text: str, defects: set[str]) -> None:
        self.addresses: list[Address] = []
        self._defects = defects
        self._reset()
        self._read(text)

    def _reset(self) -> None:
        self._name: list[str] = []
        self._spelled: list[str] = []
        self._comments: list[str] = []
        self._angle: str | None = None

    def _read(self, text: str) -> None:
        position = 0
        while position < len(text):
            if text[position] == "(":
                comment, position = _comment(text, position)
                self._comments.append(comment)
                continue
            match = _TOKEN.match(text, position)
            assert match is not None
            position = match.end()
            if match["mark"] is None:
                self._take(match)
            elif match["mark"] != ":":
                self._flush()
            elif self._angle is None and "@" not in "".join(self._spelled):
                self._reset()  # the name of a group
            else:
                self._name.append(":")
                self._spelled.append(":")
        self._flush()

    def _take(self, match: re.Match[str]) -> None:
        if match["quoted"] is not None:
            self._name.append(_ESCAPE.sub(r"\1", match["quoted"]))
            self._spelled.append(f'"{match["quoted"]}"')
        elif match["angle"] is not None:
            self._angle = match["angle"] or self._angle or ""
        else:
            self._name.append(match[0])
            self._spelled.append(match[0])

    def _flush(self) -> None:
        name = words_text("".join(self._name).replace(">", ""), self._defects)
        spelled = "".join(self._spelled).strip()
        comment = words_text(" ".join(self._comments), self._defects)
        angle = self._angle
        self._reset()
        if angle is not None:
            self.addresses.append(Address(_one_space(name) or comment, _spec(angle)))
        elif found := _SPEC.search(spelled):
            rest = (spelled[: found.start()] + spelled[found.end() :]).strip(" \t>\"'")
            self.addresses.append(Address(words_text(rest, self._defects) or comment, found[0].strip("'>")))
        elif name:
            self.addresses.append(self._without_spec(name, comment))

    def _without_spec(self, name: str, comment: str) -> Address:
        if hidden := _INSIDE.fullmatch(name):  # the address was put into the encoded word
            self._defects.add("address-encoded")
            return Address(hidden[1].strip(' \t"'), hidden[2])
        self._defects.add("address-invalid")
        return Address(name or comment, "") if " " in name else Address(comment, name)


def _one_space(name: str) -> str:
    return " ".join(name.split()) if "  " in name else name


def _spec(angle: str) -> str:
    """What stands in angle brackets, without comments and without an obsolete route."""
    if "(" in angle:
        angle = _COMMENT.sub("", angle)
    address = " ".join(angle.split()).strip("'")
    return address.rpartition(":")[2] if address.startswith("@") else address
