"""Content-Type and Content-Disposition: a value and its parameters (RFC 2045 §5.1, RFC 2183, RFC 2231)."""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from pipelines.mime import charsets
from pipelines.mime.words import raw_text, words_text

_PARAMETER = re.compile(
    r"""[;\s]*([^\s=;"]+)\s*=\s*(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"?|([^;"]*))""",
    re.DOTALL,
)
_SECTION = re.compile(r"(.*?)\*(?:(\d{1,4})(\*)?)?")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TYPE = re.compile(r"[!-.0-:<-~]+/[!-.0-:<-~]+")


class Value(NamedTuple):
    """A structured header: ``text/plain``, ``attachment`` … in lower case, and its parameters, decoded."""

    value: str
    parameters: dict[str, str]
    defects: frozenset[str]


@lru_cache(maxsize=1024)
def parse_value(raw: bytes) -> Value:
    """Read the unfolded value of a Content-Type or Content-Disposition header; never fails."""
    defects: set[str] = set()
    text = raw_text(raw, defects)
    head, _, rest = text.partition(";")
    if "=" in head:  # the semicolon, or the value itself, was left out
        head, _, tail = head.strip().partition(" ")
        if "=" in head:
            head, tail = "", f"{head} {tail}"
        rest = f"{tail};{rest}"
        defects.add("content-type-broken")
    if "(" in head:
        head = head.partition("(")[0]
    value = head.strip().strip("\"'").lower()
    parameters = _parameters(rest, defects) if "=" in rest else {}
    return Value(value, parameters, frozenset(defects))


def is_media_type(value: str) -> bool:
    """Whether ``value`` has the form type/subtype."""
    return _TYPE.fullmatch(value) is not None


def _parameters(text: str, defects: set[str]) -> dict[str, str]:
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[bool, str]]] = {}
    for match in _PARAMETER.finditer(text):
        name, quoted, bare = match.groups()
        name = name.lower()
        value = bare.strip() if quoted is None else quoted
        if quoted and "\\" in quoted:
            value = _ESCAPE.sub(r"\1", quoted)
        section = _SECTION.fullmatch(name) if "*" in name else None
        if section is None:
            plain.setdefault(name, value)
        else:
            whole = section[2] is None
            sections.setdefault(section[1], {}).setdefault(
                int(section[2] or 0), (whole or bool(section[3]), value)
            )
    found = {name: words_text(value, defects) for name, value in plain.items()}
    for name, numbered in sections.items():
        found[name] = _joined(numbered, defects)
    return found


def _joined(numbered: dict[int, tuple[bool, str]], defects: set[str]) -> str:
    """RFC 2231 §4.1: continuations in order, the charset in front of the first."""
    charset: str | None = None
    content = b""
    for position, (_, (encoded, section)) in enumerate(sorted(numbered.items())):
        value = section
        if encoded and position == 0 and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        content += unquote_to_bytes(value) if encoded else value.encode()
    return words_text(charsets.decode(content, charset or "utf-8", defects), defects)
