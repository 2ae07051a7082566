"""How near one mailbox's reading comes to Graph's documented limit, on a virtual clock.

    python -m benchmarks.pace                          ten minutes and six hours
    python -m benchmarks.pace --answer 0.3 --json      where Graph takes 0.3 s to answer

The pipelines' own session, runs, retries and pace ask a server that holds what the sandbox's Graph
holds: 10,000 requests in any 10 minutes, 4 at a time. Only the network is a model: each request is on
its way for a random time, and answered after another. The share is that of 16.7 messages a second.
"""

import argparse
import json
import random
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count

from pipelines.auth import Resource, TokenProvider
from pipelines.config import SecretCredential, Tenant
from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_limits import Limiter
from pipelines.sandbox.graph_settings import GraphSettings
from pipelines.sources.graph_limits import AT_ONCE
from pipelines.sources.graph_requests import Answer, Request
from pipelines.sources.graph_retries import Run
from pipelines.sources.graph_session import GraphSession

ADDRESS = "kim.akers@contoso.com"
PER_SECOND = 10_000 / 600
TENANT = Tenant(
    id="11111111-2222-3333-4444-555555555555",
    client_id="66666666-7777-8888-9999-000000000000",
    credential=SecretCredential(secret_env="NOT_SET"),
)


class VirtualClock:
    """Waits pass at once."""

    passed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


class OneToken(TokenProvider):
    """No sign-in."""

    def token(self, resource: Resource, *, refresh: bool = False) -> str:  # noqa: ARG002
        return "token"


class VirtualExchange:
    """What ``Wire.exchange`` gives, with a server behind it that lives on virtual time."""

    def __init__(self, clock: VirtualClock, seed: int, *, way: float = 0.05, answer: float = 0.15) -> None:
        """``way``: at most so many seconds until a request arrives; ``answer``: so many until its answer."""
        self._clock, self._server_clock = clock, VirtualClock()
        self._limiter = Limiter(GraphSettings(), self._server_clock)
        self._random, self._way, self._answer = random.Random(seed), way, answer
        self._free = AT_ONCE
        self._waiting: deque[Request] = deque()
        self._events: list[tuple[float, int, Request, Answer | None]] = []
        self._order = count()
        self._done: list[tuple[Request, Answer]] = []
        self.throttled = 0

    def feed(self, requests: Iterable[Request], taken: int = 0) -> None:  # noqa: ARG002
        """Send these as places become free."""
        while self._events and self._events[0][0] <= self._clock.passed:
            self._step()
        self._waiting.extend(requests)
        self._send(self._clock.passed)

    def lot(self) -> list[tuple[Request, Answer]]:
        """The next answers; the clock has come to the first of them."""
        while not self._done:
            self._clock.passed = max(self._clock.passed, self._step())
        lot, self._done = self._done, []
        return lot

    def _send(self, moment: float) -> None:
        while self._free and self._waiting:
            self._free -= 1
            arrival = moment + self._random.uniform(0, self._way)
            heappush(self._events, (arrival, next(self._order), self._waiting.popleft(), None))

    def _step(self) -> float:
        moment, _, request, answer = heappop(self._events)
        if answer is None:
            self._arrive(moment, request)
            return moment
        if answer.status == 200:
            self._limiter.leave(ADDRESS)
        self._done.append((request, answer))
        self._free += 1
        self._send(moment)
        return moment

    def _arrive(self, moment: float, request: Request) -> None:
        self._server_clock.passed = moment
        try:
            self._limiter.admit(ADDRESS)
            answer = Answer(200, {}, b"{}")
            moment += self._random.uniform(0.8, 1.2) * self._answer
        except GraphError as refused:
            self.throttled += 1
            headers = {name.lower(): value for name, value in refused.headers.items()}
            answer = Answer(refused.status, headers, json.dumps({"error": {"code": refused.code}}).encode())
        heappush(self._events, (moment, next(self._order), request, answer))


def reading(hours: float, seed: int = 1, *, way: float = 0.05, answer: float = 0.15) -> dict[str, float]:
    """One mailbox with mail without end, read for so long: what was reached, and how smoothly."""
    clock = VirtualClock()
    exchange = VirtualExchange(clock, seed, way=way, answer=answer)
    session = GraphSession(TENANT, ADDRESS, OneToken(TENANT), clock, ())
    messages, seconds, longest, last = 0, hours * 3600, 0.0, 0.0
    for _request, outcome in Run(session, exchange, _endless(), None).outcomes():  # type: ignore[arg-type]
        if clock.passed > seconds:
            break
        longest, last = max(longest, clock.passed - last), clock.passed
        messages += isinstance(outcome, Answer)
    return {
        "messages": messages,
        "share": messages / (seconds * PER_SECOND),
        "throttled": exchange.throttled,
        "longest_wait_s": longest,
    }


def _endless() -> Iterator[Request]:
    while True:
        yield Request("/users/kim/messages/1/$value")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--way", type=float, default=0.05, help="most seconds on the way (default 0.05)")
    parser.add_argument("--answer", type=float, default=0.15, help="seconds until an answer (default 0.15)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    figures = {
        name: reading(hours, way=options.way, answer=options.answer)
        for name, hours in (("10 minutes", 1 / 6), ("6 hours", 6.0))
    }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, row in figures.items():
        print(
            f"{name:12} {row['messages']:8,} messages, {row['share']:6.1%} of the documented limit, "
            f"throttled {row['throttled']} times, longest wait {row['longest_wait_s']:.1f} s"
        )


if __name__ == "__main__":
    main()
