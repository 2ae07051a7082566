"""How much one application may ask of one mailbox.

Source: Microsoft, "Microsoft Graph service-specific throttling limits" (Outlook service limits).
"""

import time
from collections import Counter

from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_settings import GraphSettings


class Slot:
    """A place among the requests in flight."""

    def __init__(self, running: Counter[str], mailbox: str) -> None:
        self._running, self._mailbox = running, mailbox
        self._held = True

    def release(self) -> None:
        """Make room; once is enough."""
        if self._held:
            self._held = False
            self._running[self._mailbox] -= 1


class Limiter:
    """Counts requests of each mailbox; used in one thread."""

    def __init__(self, settings: GraphSettings) -> None:
        self._settings = settings
        self._running: Counter[str] = Counter()
        self._windows: dict[str, tuple[float, int]] = {}

    def admit(self, mailbox: str) -> Slot:
        """Let a request in. Raises ``GraphError`` 429 where there are too many."""
        self._count(mailbox)
        if self._running[mailbox] >= self._settings.concurrency:
            raise _throttled(self._settings.retry_after)
        self._running[mailbox] += 1
        return Slot(self._running, mailbox)

    def _count(self, mailbox: str) -> None:
        now = time.monotonic()
        start, asked = self._windows.get(mailbox, (now, 0))
        if now - start >= self._settings.window:
            start, asked = now, 0
        self._windows[mailbox] = (start, asked + 1)
        if asked >= self._settings.requests:
            left = max(1.0, start + self._settings.window - now)
            raise _throttled(left, "Application is over its MailboxRequests limit.")


def _throttled(seconds: float, message: str | None = None) -> GraphError:
    return GraphError(429, "ApplicationThrottled", message, {"Retry-After": f"{seconds:.0f}"})
