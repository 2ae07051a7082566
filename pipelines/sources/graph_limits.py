"""Graph's limits for one application in one mailbox, kept before the server has to point them out.

Source: Microsoft, "Microsoft Graph service-specific throttling limits", Outlook: 10,000
requests in 10 minutes and 4 at a time per application and mailbox; retries count too.
"""

import threading
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple
from weakref import WeakKeyDictionary

from pipelines.auth import TokenProvider
from pipelines.clock import Clock

AT_ONCE = 4
"""Requests in flight per mailbox; a $batch is as many of them as it has requests, up to all four."""


class Limit(NamedTuple):
    """At most ``requests`` in any ``seconds``."""

    requests: int
    seconds: float
    burst: int
    """So many go out as fast as they are wanted; the rest is spread over what is left of the time."""


MAILBOX = Limit(requests=9_900, seconds=601.0, burst=2_500)
"""Below the documented limit by what may be under way. However long requests travel, a window of the server
holds those admitted in such a window and, at most, those admitted before it that had not arrived: 16 of a
run or 20 of a $batch, for each source of the mailbox. The second is for clocks that differ in their speed."""
_LOT_SECONDS = 1.0
"""Requests are remembered by the second, so that a mailbox's memory stays small."""


@dataclass(slots=True)
class _Lot:
    first: float
    last: float
    requests: int


class Pace:
    """When the next requests may go out: a log of what went out, and waits that the server asked for.

    The log slides: whether the server counts in fixed windows or in sliding ones, none of its
    windows holds more than the limit.
    """

    def __init__(self, clock: Clock, limit: Limit = MAILBOX) -> None:
        self._clock, self._limit = clock, limit
        self._lock = threading.Lock()
        self._log: deque[_Lot] = deque()
        self._in_log = 0
        self._last = self._not_before = clock.monotonic()

    def admit(self, requests: int = 1) -> None:
        """Wait until ``requests`` more may be sent, and count them as sent."""
        with self._lock:
            now = self._clock.monotonic()
            at = self._place(max(now, self._last, self._not_before), requests)
            self._note(at, requests)
        if at > now:
            self._clock.sleep(at - now)

    def hold(self, seconds: float) -> None:
        """Send nothing more for so long: the server asked for it."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock.monotonic() + seconds)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing that was sent or asked for matters any more."""
        with self._lock:
            now = self._clock.monotonic()
            return self._not_before <= now and self._last + self._limit.seconds <= now

    def _place(self, at: float, requests: int) -> float:
        """The first moment from ``at`` on at which there is room, spread where there has been a burst."""
        log, limit = self._log, self._limit
        while log and (log[0].last + limit.seconds <= at or self._in_log + requests > limit.requests):
            lot = log.popleft()
            self._in_log -= lot.requests
            at = max(at, lot.last + limit.seconds)
        if log and self._in_log >= limit.burst:
            left = log[0].last + limit.seconds - self._last
            at = max(at, self._last + left * requests / (limit.requests - self._in_log))
        return at

    def _note(self, at: float, requests: int) -> None:
        if self._log and at - self._log[-1].first < _LOT_SECONDS:
            self._log[-1].last = at
            self._log[-1].requests += requests
        else:
            self._log.append(_Lot(at, at, requests))
        self._in_log += requests
        self._last = at


_paces: WeakKeyDictionary[TokenProvider, dict[str, Pace]] = WeakKeyDictionary()
_tenants: WeakKeyDictionary[TokenProvider, Pace] = WeakKeyDictionary()
_paces_lock = threading.Lock()


def tenant_pace_of(application: TokenProvider, per_second: float, clock: Clock) -> Pace:
    """The pace that all of this process's mailboxes keep together, of ``per_second`` requests."""
    with _paces_lock:
        minute = Limit(max(1, int(per_second * 60)), 60.0, max(1, int(per_second)))
        return _tenants.setdefault(application, Pace(clock, minute))


def pace_of(application: TokenProvider, mailbox: str, clock: Clock) -> Pace:
    """The pace that all of this process's sources for ``mailbox`` keep together."""
    with _paces_lock:
        paces = _paces.setdefault(application, {})
        if mailbox not in paces:
            _forget_fresh(paces)
            paces[mailbox] = Pace(clock)
        return paces[mailbox]


def _forget_fresh(paces: dict[str, Pace]) -> None:
    """Look at the two that have been here longest: so no more are kept than the last minutes' mailboxes."""
    for mailbox in list(islice(paces, 2)):
        pace = paces.pop(mailbox)
        if not pace.is_fresh:
            paces[mailbox] = pace
