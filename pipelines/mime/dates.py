"""Date headers to instants: RFC 5322 §3.3 and §4.3, and what else is sent under the name."""

import re
from datetime import UTC, datetime, timedelta, timezone

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_ZONES = {
    "ut": 0, "utc": 0, "gmt": 0, "z": 0, "wet": 0, "bst": 60, "cet": 60, "met": 60, "mez": 60,
    "cest": 120, "mest": 120, "mesz": 120, "eet": 120, "eest": 180, "msk": 180, "jst": 540, "kst": 540,
    "hkt": 480, "sgt": 480, "aest": 600, "aedt": 660, "nzst": 720, "nzdt": 780, "ast": -240, "adt": -180,
    "est": -300, "edt": -240, "cst": -360, "cdt": -300, "mst": -420, "mdt": -360, "pst": -480, "pdt": -420,
    "akst": -540, "akdt": -480, "hst": -600,
}  # fmt: skip
"""Minutes east of Greenwich; RFC 5322 §4.3 and the abbreviations seen beside them."""

# Nothing odd about it, and a zone that exists; anything else goes the long way.
_PLAIN = re.compile(
    r"(?:[A-Z][a-z]{2}, )?([0-9]{1,2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}:[0-9]{2}:[0-9]{2})"
    r" ([+-](?:[01][0-9]|2[0-3])[0-5][0-9])\b"
)
_CLOCK = (
    r"(?P<hour>\d{1,2})\s*[:.]\s*(?P<minute>\d{1,2})(?:\s*[:.]\s*(?P<second>\d{1,2})(?:\.\d+)?)?"
    r"(?:\s*(?P<half>[AaPp])[Mm]\b)?"
)
_ZONE = r"(?P<zone>[+-]?\s?\d{1,2}:?\d{2}\b|[A-Za-z]{1,5}\b)"
_USUAL = re.compile(
    rf"(?:[A-Za-z]+\.?,?\s*)?(?P<day>\d{{1,2}})[\s-]*(?P<month>[A-Za-z]{{3}})[a-z]*[.,]?[\s-]*(?P<year>\d{{2,4}}),?"
    rf"\s+{_CLOCK}\s*{_ZONE}?"
)
_CTIME = re.compile(
    rf"(?:[A-Za-z]+,?\s+)?(?P<month>[A-Za-z]{{3}})[a-z]*\.?\s+(?P<day>\d{{1,2}}),?\s+{_CLOCK}"
    rf"\s*{_ZONE}?,?\s*(?P<year>\d{{4}})(?:\s+(?P<after>[+-]\d{{4}}|[A-Za-z]{{1,5}}))?"
)
_AMERICAN = re.compile(
    rf"(?:[A-Za-z]+,?\s+)?(?P<month>[A-Za-z]{{3}})[a-z]*\.?\s+(?P<day>\d{{1,2}}),?\s+(?P<year>\d{{4}}),?\s+{_CLOCK}\s*{_ZONE}?"
)
_ISO = re.compile(rf"(?P<year>\d{{4}})-(?P<month>\d{{2}})-(?P<day>\d{{2}})[T\s]+{_CLOCK}\s*{_ZONE}?")
_SHAPES = (_USUAL, _CTIME, _AMERICAN, _ISO)
_COMMENT = re.compile(r"\([^()]*\)")


def parse_date(value: str, defects: set[str]) -> datetime | None:
    """The instant in UTC, or None with the defect ``date-invalid``."""
    value = value.strip()
    instant = _plain(value)
    if instant is not None:
        return instant
    match = _USUAL.match(value)
    if match is None:
        bare = _COMMENT.sub(" ", value).strip()
        match = next((found for shape in _SHAPES if (found := shape.match(bare))), None)
    instant = _instant(match.groupdict(), defects) if match else None
    if instant is None:
        defects.add("date-invalid")
    return instant


def _plain(value: str) -> datetime | None:
    match = _PLAIN.match(value)
    if match is None:
        return None
    day, month, year, clock, zone = match.groups()
    number = _MONTHS.get(month.lower(), 0)
    try:
        return datetime.fromisoformat(f"{year}-{number:02}-{day:0>2}T{clock}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _instant(parts: dict[str, str | None], defects: set[str]) -> datetime | None:
    month = parts["month"] or ""
    number = int(month) if month.isdigit() else _MONTHS.get(month[:3].lower(), 0)
    try:
        local = datetime(
            _year(parts["year"] or ""),
            number,
            int(parts["day"] or 0),
            _hour(int(parts["hour"] or 0), parts["half"]),
            int(parts["minute"] or 0),
            min(int(parts["second"] or 0), 59) if int(parts["second"] or 0) <= 60 else 99,  # a leap second
            tzinfo=_zone(parts.get("after") or parts["zone"], defects),
        )
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _year(digits: str) -> int:
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(digits) == 3 else year


def _hour(hour: int, half: str | None) -> int:
    if half is None or not 1 <= hour <= 12:
        return hour
    return hour % 12 + (12 if half in "pP" else 0)


def _zone(zone: str | None, defects: set[str]) -> timezone:
    minutes = None
    if zone is not None:
        if zone[-1].isdigit():
            digits = zone.lstrip("+- ").replace(":", "").zfill(4)
            if int(digits[2:]) < 60 and int(digits[:2]) < 24:
                minutes = (int(digits[:2]) * 60 + int(digits[2:])) * (-1 if zone[0] == "-" else 1)
        else:
            minutes = _ZONES.get(zone.lower())
    if minutes is None:
        defects.add("date-zone-unknown")
        return UTC
    return timezone(timedelta(minutes=minutes))
