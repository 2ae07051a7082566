"""The span of a backfill, and the months it is read in."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from pipelines.errors import UsageError

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Span:
    """What was received from ``since`` up to, not at, ``before``, both in UTC."""

    since: datetime
    before: datetime

    def months(self) -> list["Span"]:
        """The span cut where months begin, newest first."""
        edges = [self.before]
        while edges[-1] > self.since:
            last = edges[-1] - timedelta.resolution
            month = last.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            edges.append(max(month, self.since))
        return [Span(since, before) for before, since in pairwise(edges)]


def read_span(first: str, end: str, now: datetime) -> Span:
    """The days from ``first`` up to, not on, ``end``, written YYYY-MM-DD.

    Raises ``UsageError`` where one is no date, they are the wrong way round, or the span
    lies outside the time in which mail can have been received.
    """
    since, before = _day("--from", first), _day("--to", end)
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
    if since < _EARLIEST:
        raise UsageError(
            f"--from {first} is before there was mail", remedy="check the year; 1970-01-01 is the earliest"
        )
    if since > before:
        raise UsageError(
            f"--from {first} is later than --to {end}",
            remedy="turn them round; mail is read that was received on --from or later, and before --to",
        )
    if since == before:
        raise UsageError(
            f"nothing lies between --from {first} and --to {end}",
            remedy="--to is the first day that is not covered: give a later one",
        )
    if before > tomorrow:
        raise UsageError(
            f"--to {end} lies in the future", remedy=f"--to {tomorrow:%Y-%m-%d} covers today, in UTC"
        )
    return Span(since, before)


def _day(option: str, text: str) -> datetime:
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        pass
    raise UsageError(f"{option} {text} is not a date", remedy="write it as YYYY-MM-DD, such as 2024-01-31")
