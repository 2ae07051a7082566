"""Header values as text: encoded words (RFC 2047), raw UTF-8 (RFC 6532), raw 8-bit."""

import binascii
import re

from pipelines.mime import charsets
from pipelines.mime.transfer import base64_word

# "?" inside the encoded text is forbidden and occurs; the bound keeps hostile input linear.
_WORD = re.compile(r"=\?([^?\s*]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*(?:\?(?!=)[^?]*){0,8})\?=")
_CONTROLS = dict.fromkeys([*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029], " ")


def raw_text(value: bytes, defects: set[str]) -> str:
    """An unfolded header value as it stands, a NUL as a space; encoded words not yet read."""
    if b"\0" in value:
        value = value.replace(b"\0", b" ")
    if value.isascii():
        if b"\x1b" in value:
            defects.add("header-8bit")
            return charsets.decode(value, "iso-2022-jp", defects)
        return value.decode("ascii")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        defects.add("header-8bit")
        return charsets.guess(value)


def header_text(value: bytes, defects: set[str]) -> str:
    """An unfolded, unstructured header value for people: decoded, controls as spaces, stripped."""
    if value.isascii() and b"=?" not in value:
        text = value.decode("ascii")
        if text.isprintable():
            return text.strip()
    return words_text(raw_text(value, defects), defects)


def words_text(text: str, defects: set[str]) -> str:
    """``text`` with its encoded words read, control characters as spaces, stripped."""
    if "=?" in text:
        text = _decode_words(text, defects)
    if not text.isprintable():
        text = text.translate(_CONTROLS)
    return text.strip()


def _decode_words(text: str, defects: set[str]) -> str:
    """Neighbouring words of one charset are joined as bytes: senders cut inside characters."""
    out: list[str] = []
    position = 0
    charset, pending = "", b""
    for match in _WORD.finditer(text):
        between = text[position : match.start()]
        position = match.end()
        if between and not (pending and between.isspace()):
            out.append(charsets.decode(pending, charset, defects))
            out.append(between)
            pending = b""
        # Raw characters inside a word are text already, whatever charset it names.
        named = match[1].lower() if match[3].isascii() else "utf-8"
        if pending and named != charset:
            out.append(charsets.decode(pending, charset, defects))
            pending = b""
        charset = named
        pending += _word_bytes(match[2], match[3], defects)
    if pending:
        out.append(charsets.decode(pending, charset, defects))
    rest = text[position:]
    out.append(rest)
    if "=?" in rest or not position:
        defects.add("encoded-word-broken")
    return "".join(out)


def _word_bytes(encoding: str, payload: str, defects: set[str]) -> bytes:
    content = payload.encode()
    if encoding in "bB":
        return base64_word(content, defects)
    return binascii.a2b_qp(content, header=True)
