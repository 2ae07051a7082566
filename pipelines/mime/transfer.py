"""Content transfer encodings (RFC 2045 §6), read tolerantly."""

import binascii
import re

import pybase64

_NOT_ALPHABET = re.compile(rb"[^A-Za-z0-9+/=]+")
_PROSE = re.compile(rb"(?m)^[^\r\n]*[^A-Za-z0-9+/=\s]")
_WORDS = re.compile(rb"\S \S")
_PADDED = re.compile(rb"[A-Za-z0-9+/]+=*")
_QP_BROKEN = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*[\r\n]|[ \t]*\Z)")
_QP_SOFT_SPACE = re.compile(rb"=[ \t]{1,80}(?=\r?\n|\Z)")
_UU_BEGIN = re.compile(rb"(?m)^begin [0-7]{3,4} [^\r\n]*\r?\n?")
_PLAIN = frozenset({"", "7bit", "8bit", "binary"})


def decode(content: bytes, encoding: str, defects: set[str]) -> bytes:
    """``content`` without its transfer encoding; an unknown encoding leaves it as it is."""
    if encoding in _PLAIN:
        return content
    if encoding == "quoted-printable":
        return _quoted_printable(content, defects)
    if encoding == "base64":
        return _base64(content, defects)
    if encoding in ("x-uuencode", "uuencode", "x-uue", "uue"):
        return _uuencode(content, defects)
    defects.add("transfer-encoding-unknown")
    return content


def _quoted_printable(content: bytes, defects: set[str]) -> bytes:
    if b"=" not in content:
        return content
    if b"= " in content or b"=\t" in content:
        content = _QP_SOFT_SPACE.sub(b"=", content)
    if _QP_BROKEN.search(content):
        defects.add("quoted-printable-broken")
    # binascii takes a lone CR after "=" for a soft break up to the next LF, losing a line.
    return binascii.a2b_qp(content.replace(b"=\r\n", b"=\n").replace(b"=\r", b"=\n"))


def _base64(content: bytes, defects: set[str]) -> bytes:
    content = content.strip()
    characters = _characters(content)
    if characters % 4 == 0 and b" " not in content[-200:]:
        try:
            decoded = pybase64.b64decode(content)
        except (binascii.Error, ValueError):
            decoded = b""
        # Nothing was skipped and nothing stopped early, or the length would be another.
        if len(decoded) == characters // 4 * 3 - content[-2:].count(b"="):
            return decoded
    return _imperfect_base64(content, defects)


def _characters(content: bytes) -> int:
    """How many digits there should be: counted by lines of one length, as encoders write them."""
    width = content.find(b"\n")
    if width <= 0:
        return len(content)
    ending = 2 if content[width - 1] == 13 else 1
    lines, rest = divmod(len(content), width + 1)
    return lines * (width + 1 - ending) + rest


def _imperfect_base64(content: bytes, defects: set[str]) -> bytes:
    prose = _PROSE.search(content)
    if prose and _WORDS.search(content, prose.start()):
        # Lines of words: a mailing list's footer put below the encoded text.
        defects.add("base64-trailing-text")
        content = content[: prose.start()]
    if _NOT_ALPHABET.search(content.translate(None, b" \t\r\n")):
        defects.add("base64-broken")
    runs = _PADDED.findall(_NOT_ALPHABET.sub(b"", content))
    if len(runs) > 1:
        defects.add("base64-broken")
    return b"".join(_padded(run, defects) for run in runs)


def _padded(run: bytes, defects: set[str]) -> bytes:
    digits = run.rstrip(b"=")
    missing = -len(digits) % 4
    if missing == 3:
        defects.add("base64-truncated")
        digits, missing = digits[:-1], 0
    elif missing != len(run) - len(digits):
        defects.add("base64-truncated")
    return pybase64.b64decode(digits + b"=" * missing)


def base64_word(content: bytes, defects: set[str]) -> bytes:
    """The bytes of a B-encoded word (RFC 2047 §4.1)."""
    try:
        return pybase64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        defects.add("encoded-word-broken")
        runs = _PADDED.findall(_NOT_ALPHABET.sub(b"", content))
        return b"".join(_padded(run, set()) for run in runs)


def _uuencode(content: bytes, defects: set[str]) -> bytes:
    begin = _UU_BEGIN.search(content)
    if begin is None:
        defects.add("uuencode-broken")
        return content
    out: list[bytes] = []
    for line in content[begin.end() :].splitlines():
        if line.strip() == b"end":
            return b"".join(out)
        out.append(_uu_line(line, defects))
    defects.add("uuencode-broken")
    return b"".join(out)


def _uu_line(line: bytes, defects: set[str]) -> bytes:
    if not line:
        return b""
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        defects.add("uuencode-broken")
    # Some encoders count the line's length wrongly; its characters still hold the bytes.
    expected = (((line[0] - 32) & 63) * 4 + 5) // 3
    try:
        return binascii.a2b_uu(line[:expected])
    except binascii.Error:
        return b""
