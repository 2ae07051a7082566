"""Bytes to text under the charset names that mail really carries.

Names follow the WHATWG habit where senders do: ``iso-8859-1`` is read as windows-1252,
``gb2312`` as GB 18030, ``ks_c_5601-1987`` as code page 949.
"""

import codecs
import re
from functools import lru_cache

_ALIASES = {
    "latin-1": "cp1252",
    "latin1": "cp1252",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "iso_8859-1": "cp1252",
    "iso-8859-1-windows-3.1-latin-1": "cp1252",
    "cp-850": "cp850",
    "iso-8859-9": "cp1254",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "windows-874": "cp874",
    "windows-936": "gb18030",
    "gb2312": "gb18030",
    "gb_2312-80": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "euc-kr": "cp949",
    "windows-949": "cp949",
    "big5": "cp950",
    "x-x-big5": "cp950",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "iso-2022-jp": "iso2022_jp_ext",
    "iso-2022-jp-ms": "iso2022_jp_ext",
    "cp50220": "iso2022_jp_ext",
    "unicode-1-1-utf-7": "utf-7",
    "unicode-1-1-utf-8": "utf-8",
    "utf8mb4": "utf-8",
    "utf-8n": "utf-8",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
    "x-cp1252": "cp1252",
    "x-windows-1252": "cp1252",
}
_UNSTATED = frozenset(
    {"", "us-ascii", "ascii", "ansi_x3.4-1968", "default", "unknown", "unknown-8bit", "x-unknown", "8bit"}
    | {"x-user-defined", "binary", "_autodetect", "_autodetect_all", "none", "iso-8859"}
)
_NOT_CHARSETS = frozenset(
    {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"}
)
_SIMPLE = frozenset({"", "utf-8", "cp1252"})
"""Codecs (``""``: guessed) in which a byte of ASCII always is that character."""
_LONE_CR = re.compile(rb"\r(?!\n)")
_SEVEN_BIT = frozenset({"utf-7", "hz", "iso2022_jp", "iso2022_jp_ext", "iso2022_kr"})


@lru_cache(maxsize=512)
def _codec(charset: str) -> str | None:
    """The codec's name; ``""`` where the charset says nothing; None where nobody knows it."""
    name = charset.strip().strip("\"'").lower()
    if name in _UNSTATED:
        return ""
    name = _ALIASES.get(name, name)
    try:
        known = codecs.lookup(name)
        if known.name.replace("-", "_") in _NOT_CHARSETS:
            return None
        b"".decode(name)
    except (LookupError, ValueError):
        return None
    return name


def decode(content: bytes, charset: str | None, defects: set[str]) -> str:
    """Read ``content``; never fails. NUL and what has no reading become U+FFFD, and are noted."""
    codec = _codec(charset) if charset else ""
    if codec is None:
        defects.add("charset-unknown")
        codec = ""
    if codec in _SIMPLE and content.isascii():
        text = content.decode("ascii")
    elif codec == "":
        defects.add("charset-missing")
        text = guess(content)
    else:
        text = _stated(content, codec, defects)
    if "\0" in text:
        defects.add("nul")
        text = text.replace("\0", "\ufffd")
    return text


def decode_lines(content: bytes, charset: str | None, defects: set[str]) -> str:
    """Read ``content`` like ``decode``, every CRLF and lone CR as LF."""
    if not charset or _codec(charset) in _SIMPLE:  # bytes are replaced faster than characters
        content = _line_feeds(content)
    text = decode(content, charset, defects)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _line_feeds(content: bytes) -> bytes:
    if b"\r" not in content:
        return content
    if _LONE_CR.search(content):
        return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return content.translate(None, b"\r")


def guess(content: bytes) -> str:
    """Text of an unstated charset: UTF-8 where it is valid, else windows-1252."""
    try:
        return content.decode("utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8")
    except UnicodeDecodeError:
        return _western(content)


def _western(content: bytes) -> str:
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _stated(content: bytes, codec: str, defects: set[str]) -> str:
    if codec == "cp1252":
        return _western(content)
    try:
        text = content.decode(codec)
    except ValueError:
        defects.add("charset-wrong")
        return _damaged(content, codec)
    return text if codec == "utf-8" else _without_surrogates(text)


def _damaged(content: bytes, codec: str) -> str:
    """Bytes that their stated charset does not allow."""
    if codec in _SEVEN_BIT and not content.isascii():
        return guess(content)
    try:
        text = content.decode(codec, "replace")
    except ValueError:
        return guess(content)
    if codec == "utf-8":
        lost = text.count("\ufffd")
        if 2 * lost > len(text) - len(text.encode("ascii", "ignore")):
            return _western(content)
    return _without_surrogates(text)


def _without_surrogates(text: str) -> str:
    # UTF-7 and UTF-16 can spell half a pair, which neither Parquet nor SQL can store.
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
