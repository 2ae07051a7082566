"""How mailboxes move to Graph: what is compared, who decides, how many at once."""

import re
from datetime import datetime, time
from typing import Annotated

from pydantic import AfterValidator, Field

from pipelines.config.base import Section
from pipelines.config.values import wrong

_SAMPLE = re.compile(r"sample (\d{1,2}(?:\.\d+)?)\s?%")
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def _compare(value: str) -> str:
    if value not in ("listing", "full") and not _SAMPLE.fullmatch(value):
        raise wrong(f"{value!r} is no way to compare", "write listing, full, or a share such as: sample 5%")
    return value


def _hours(value: str) -> str:
    if not _HOURS.fullmatch(value):
        raise wrong(f"{value!r} is not a span of hours", 'write it in UTC, such as "20:00-06:00"')
    return value


def _waves(value: tuple[str, ...]) -> tuple[str, ...]:
    doubled = sorted({each for each in value if value.count(each) > 1})
    if doubled:
        raise wrong(f"names {doubled[0]} twice", "name each wave once, in the order they are to move")
    return value


class CutoverSettings(Section):
    """The policy of the switch."""

    compare: Annotated[str, AfterValidator(_compare)] = "listing"
    """``listing``, ``full`` or ``sample N%``: which bodies are fetched from Graph and compared."""
    waves: Annotated[tuple[str, ...], AfterValidator(_waves)] = ()
    """Waves that move by themselves, one after the other; none: only people move mailboxes."""
    clean_parities: int = Field(default=3, ge=1, strict=True)
    """Parities in a row that are perfect or good before a mailbox moves by itself."""
    at_once: int = Field(default=20, ge=1, strict=True)
    """Mailboxes that are moved in one go."""
    hours: Annotated[str, AfterValidator(_hours)] | None = None
    """When mailboxes may move by themselves, ``HH:MM-HH:MM`` in UTC; None is any time."""
    trailing_days: int = Field(default=14, ge=0, strict=True)
    """Days for which the legacy view is still compared after the switch."""
    rollback_after: int | None = Field(default=None, ge=1, strict=True)
    """Failed passes in a row after which a mailbox goes back by itself; None is never."""

    @property
    def share(self) -> float:
        """The part of the bodies that is compared, from 0 (none beyond need) to 1."""
        sample = _SAMPLE.fullmatch(self.compare)
        return float(sample[1]) / 100 if sample else float(self.compare == "full")

    def open_at(self, moment: datetime) -> bool:
        """Whether mailboxes may move by themselves at ``moment`` (UTC)."""
        span = _HOURS.fullmatch(self.hours) if self.hours else None
        if span is None:
            return True
        start, end = time(int(span[1]), int(span[2])), time(int(span[3]), int(span[4]))
        now = moment.time()
        return start <= now < end if start <= end else now >= start or now < end
