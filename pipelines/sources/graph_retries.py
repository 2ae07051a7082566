"""Asking again: after which faults, how often, and when."""

import random
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from itertools import count, islice
from typing import TYPE_CHECKING, Protocol

from pipelines.clock import Clock
from pipelines.errors import MailoverError
from pipelines.sources.graph_faults import Fault, Kind, fault_of
from pipelines.sources.graph_requests import Answer, Request, size_of

if TYPE_CHECKING:
    from pipelines.sources.graph_wire import Came, Exchange

LONGEST_WAIT = 900.0
"""Seconds; a server that asks for more is not waited for, the caller is told."""
WINDOW = 16
"""Requests that may be out and not yet looked at: four in flight, the others done or about to go."""
_PAUSES: dict[Kind, tuple[float, ...]] = {
    Kind.TOKEN: (0.0, 0.0),
    Kind.THROTTLED: (5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0, 60.0),
    Kind.BUSY: (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0),
    Kind.UNEXPLAINED: (1.0, 4.0),
    Kind.CONNECTION_LOST: (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0),
    Kind.CUT_SHORT: (0.0, 2.0),
    Kind.UNREACHABLE: (1.0, 4.0),
}
"""Seconds before each further try where the server names none; after other faults there is none."""

Outcome = Answer | MailoverError
Check = Callable[[Answer], Fault | None]
"""Finds fault with answers that look like successes."""


class Asker(Protocol):
    """What asking again needs of the session."""

    mailbox: str
    clock: Clock

    def admit(self, requests: Iterable[Request]) -> None:
        """Wait until they may be sent, and give each the token to send."""

    def hold(self, seconds: float) -> None:
        """Send nothing for so long."""

    def refused(self, token: str) -> None:
        """The server does not accept this token."""


def judge(asker: Asker, request: Request, came: "Came", check: Check | None = None) -> Outcome | float:
    """What came of a request for good, or the seconds after which to ask again."""
    if isinstance(came, Answer):
        fault = fault_of(came, asker.mailbox, asker.clock.now()) or (check(came) if check else None)
        if fault is None:
            return came
    elif isinstance(came, Fault):
        fault = came
    else:
        raise came
    if fault.kind is Kind.TOKEN:
        asker.refused(request.token)
    pause = _pause(request, fault)
    if pause is None:
        return fault.error
    if fault.kind is Kind.THROTTLED:
        # The limits are the mailbox's: whatever else is to be asked waits too.
        asker.hold(pause)
        return 0.0
    return pause


def _pause(request: Request, fault: Fault) -> float | None:
    tries, pauses = request.failures[fault.kind], _PAUSES.get(fault.kind, ())
    request.failures[fault.kind] += 1
    if tries >= len(pauses) or (fault.wait or 0) > LONGEST_WAIT:
        return None
    spread = random.uniform(0.8, 1.2)  # noqa: S311 - so that many do not come back at once
    return fault.wait or pauses[tries] * spread


class Run:
    """Many requests, four at a time; what fails is asked again among the others."""

    def __init__(
        self, asker: Asker, exchange: "Exchange", requests: Iterable[Request], check: Check | None
    ) -> None:
        self._asker, self._exchange, self._check = asker, exchange, check
        self._fresh = iter(requests)
        self._later: list[tuple[float, int, Request]] = []
        self._order = count()

    def outcomes(self) -> Iterator[tuple[Request, Outcome]]:
        """One for each request, in the order in which they come."""
        flying = taken = 0
        while True:
            ready = self._ready(WINDOW - flying) if flying <= WINDOW // 2 else []
            if ready or taken:
                self._exchange.feed(ready, taken)
            flying += len(ready)
            taken = 0
            if flying:
                lot = self._exchange.lot()
                flying -= len(lot)
                while lot:
                    request, came = lot.pop()
                    taken += size_of(came)
                    outcome = judge(self._asker, request, came, self._check)
                    if isinstance(outcome, float):
                        due = self._asker.clock.monotonic() + outcome
                        heappush(self._later, (due, next(self._order), request))
                    else:
                        yield request, outcome
            elif self._later:
                self._asker.clock.sleep(max(0.0, self._later[0][0] - self._asker.clock.monotonic()))
            else:
                return

    def _ready(self, room: int) -> list[Request]:
        ready: list[Request] = []
        while self._later and len(ready) < room and self._later[0][0] <= self._asker.clock.monotonic():
            ready.append(heappop(self._later)[2])
        ready += islice(self._fresh, room - len(ready))
        if ready:
            self._asker.admit(ready)
        return ready
