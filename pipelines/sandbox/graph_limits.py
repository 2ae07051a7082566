"""How much one application may ask of one mailbox.

Source: Microsoft, "Microsoft Graph service-specific throttling limits" (Outlook service limits).
Whether Exchange counts in fixed or in sliding windows is not said: here they slide, which is
stricter, since whoever keeps to every window keeps to the fixed ones too.
"""

from collections import Counter, deque
from types import TracebackType

from pipelines.clock import Clock, SystemClock
from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_settings import GraphSettings


class Slot:
    """A request's place among those in flight, once it has one."""

    def __init__(self, limiter: "Limiter") -> None:
        self._limiter = limiter
        self._mailbox: str | None = None

    def take(self, mailbox: str) -> None:
        """Raises ``GraphError`` 429 where too many are in flight, or too much has been asked."""
        self._limiter.admit(mailbox)
        self._mailbox = mailbox

    def release(self) -> None:
        """Make room; once is enough."""
        if self._mailbox is not None:
            self._limiter.leave(self._mailbox)
            self._mailbox = None

    def __enter__(self) -> "Slot":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Limiter:
    """Counts the requests of each mailbox; used in one thread."""

    def __init__(self, settings: GraphSettings, clock: Clock | None = None) -> None:
        self._settings, self._clock = settings, clock or SystemClock()
        self._running: Counter[str] = Counter()
        self._asked: dict[str, deque[float]] = {}

    def admit(self, mailbox: str) -> None:
        """One more in flight. Raises ``GraphError`` 429."""
        self._count(mailbox)
        if self._running[mailbox] >= self._settings.concurrency:
            raise _throttled(self._settings.retry_after)
        self._running[mailbox] += 1

    def leave(self, mailbox: str) -> None:
        """One less in flight."""
        self._running[mailbox] -= 1

    def _count(self, mailbox: str) -> None:
        """Refused requests count as well."""
        now, window = self._clock.monotonic(), self._settings.window
        asked = self._asked.setdefault(mailbox, deque())
        while asked and asked[0] <= now - window:
            asked.popleft()
        asked.append(now)
        over = len(asked) - self._settings.requests
        if over > 0:
            left = max(1.0, asked[over] + window - now)
            raise _throttled(left, "Application is over its MailboxRequests limit.")


def _throttled(seconds: float, message: str | None = None) -> GraphError:
    return GraphError(429, "ApplicationThrottled", message, {"Retry-After": f"{seconds:.0f}"})
