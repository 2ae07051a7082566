"""Graph's limits for one application in one mailbox, kept before the server has to point them out.

Source: Microsoft, "Microsoft Graph service-specific throttling limits", Outlook: 10,000
requests in 10 minutes and 4 at a time per application and mailbox; retries count too.
"""

import threading
from weakref import WeakKeyDictionary

from pipelines.auth import TokenProvider
from pipelines.clock import Clock

AT_ONCE = 4
"""Requests in flight per mailbox; a $batch is as many of them as it has requests, up to all four."""
BURST, PER_SECOND = 2_500, 12.0
"""So many at once, then so many a second: at most 9,700 in any 10 minutes, and never a long stand-still."""


class Pace:
    """When the next requests may go out: a bucket that fills steadily, and waits the server asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left = float(BURST)
        self._at = self._not_before = clock.monotonic()

    def admit(self, requests: int = 1) -> None:
        """Wait until ``requests`` more may be sent, and count them as sent."""
        with self._lock:
            now = self._clock.monotonic()
            self._left = min(BURST, self._left + (now - self._at) * PER_SECOND) - requests
            self._at = now
            wait = max(-self._left / PER_SECOND, self._not_before - now)
        if wait > 0:
            self._clock.sleep(wait)

    def hold(self, seconds: float) -> None:
        """Send nothing more for so long: the server asked for it."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock.monotonic() + seconds)


_paces: WeakKeyDictionary[TokenProvider, dict[str, Pace]] = WeakKeyDictionary()
_paces_lock = threading.Lock()


def pace_of(application: TokenProvider, mailbox: str, clock: Clock) -> Pace:
    """The pace that all of this process's sources for ``mailbox`` keep together."""
    with _paces_lock:
        of_application = _paces.setdefault(application, {})
        return of_application.setdefault(mailbox, Pace(clock))
