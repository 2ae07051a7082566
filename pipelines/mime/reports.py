"""Structured parts: delivery reports (RFC 3464) and calendars (RFC 5545)."""

import re

from pipelines.mime.fields import group_fields, unfold, unix_lines
from pipelines.mime.record import BounceRecipient, Meeting

_GROUPS = re.compile(rb"\n[ \t]*\n")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_ESCAPE = re.compile(r"\\([\\;,nN])")


def bounce_recipients(content: bytes, defects: set[str]) -> tuple[BounceRecipient, ...]:
    """The per-recipient groups of a delivery-status part (RFC 3464 §2.3)."""
    found = []
    for group in _GROUPS.split(unix_lines(content)):
        fields = dict(reversed(group_fields(group, defects)))
        recipient = fields.get("final-recipient") or fields.get("original-recipient") or ""
        if not recipient and "action" not in fields:
            continue
        status = _STATUS.search(fields.get("status", ""))
        found.append(
            BounceRecipient(
                recipient=_after_type(recipient).strip("<>"),
                action=fields.get("action", "").partition(" ")[0].lower(),
                status=status[0] if status else "",
                diagnostic=_after_type(fields.get("diagnostic-code", "")),
            )
        )
    return tuple(found)


def _after_type(value: str) -> str:
    """``rfc822; kim@contoso.com`` without its type."""
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and " " not in kind.strip() else value.strip()


def meeting(text: str, method: str | None) -> Meeting:
    """What a calendar says of its first event; ``method``: the one of the Content-Type."""
    found: dict[str, str] = {}
    component = ""
    for line in calendar_lines(text):
        name, _, value = line.partition(":")
        name = name.partition(";")[0].upper()
        if name == "BEGIN":
            component = value.strip().upper()
        elif name == "METHOD" or (
            name in ("UID", "SUMMARY") and component in ("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY")
        ):
            found.setdefault(name, _ESCAPE.sub(_unescaped, value.strip()))
    return Meeting(
        method=(found.get("METHOD") or method or "").upper(),
        uid=found.get("UID", ""),
        summary=found.get("SUMMARY", ""),
    )


def calendar_lines(text: str) -> list[str]:
    """The content lines, unfolded (RFC 5545 §3.1)."""
    return [line.rstrip() for line in _joined(text).split("\n") if line.strip()]


def _joined(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n ", "").replace("\n\t", "")


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] in "nN" else match[1]


def report_lines(content: bytes) -> list[str]:
    """The fields of a report's part, one line each, whatever their folding."""
    lines = []
    for line in unfold(content):
        name, _, value = line.partition(b":")
        if folded := b" ".join([name.strip().lower(), *value.split()]):
            lines.append(folded.replace(b"\0", b"").decode("latin-1"))
    return lines
