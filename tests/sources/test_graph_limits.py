"""The pace that is kept for each mailbox, over virtual hours."""

import asyncio
from itertools import pairwise

from pipelines.auth import TokenProvider
from pipelines.config import Tenant
from pipelines.sources.graph_limits import BURST, PER_SECOND, Pace, pace_of
from pipelines.sources.graph_loop import Places
from tests.sources.conftest import WaitlessClock, graph_tenant_at

LIMIT, WINDOW = 10_000, 600.0


def sent(pace: Pace, clock: WaitlessClock, count: int, weight: int = 1) -> list[float]:
    """The moments at which ``count`` requests went out."""
    moments = []
    for _ in range(0, count, weight):
        pace.admit(weight)
        moments += [clock.monotonic()] * weight
    return moments


class VirtualClock(WaitlessClock):
    """Adds up waits as they come."""

    passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


def test_no_ten_minutes_ever_hold_more_requests_than_graph_allows() -> None:
    clock = VirtualClock()
    pace = Pace(clock)
    moments = sent(pace, clock, 12_000)
    clock.sleep(400)
    moments += sent(pace, clock, 12_000, weight=20)
    start = 0
    for end, moment in enumerate(moments):
        while moment - moments[start] > WINDOW:
            start += 1
        assert end - start + 1 <= LIMIT


def test_a_small_mailbox_is_not_slowed_and_a_large_one_never_stands_still() -> None:
    clock = VirtualClock()
    moments = sent(Pace(clock), clock, BURST + 5_000)
    assert moments[BURST - 1] == 0
    assert max(later - earlier for earlier, later in pairwise(moments)) < 2 / PER_SECOND


def test_a_wait_that_the_server_asks_for_holds_everything_back() -> None:
    clock = VirtualClock()
    pace = Pace(clock)
    pace.hold(30)
    pace.hold(10)
    pace.admit()
    assert clock.passed == 30
    pace.admit()
    assert clock.passed == 30


def test_sources_of_one_application_share_the_pace_of_a_mailbox() -> None:
    tenant: Tenant = graph_tenant_at("https://localhost:1/v1.0", None)
    one, other, clock = TokenProvider(tenant), TokenProvider(tenant), VirtualClock()
    assert pace_of(one, "kim@contoso.com", clock) is pace_of(one, "kim@contoso.com", clock)
    assert pace_of(one, "kim@contoso.com", clock) is not pace_of(one, "alex@contoso.com", clock)
    assert pace_of(one, "kim@contoso.com", clock) is not pace_of(other, "kim@contoso.com", clock)


def test_places_are_never_more_than_four_and_nobody_waits_for_ever() -> None:
    held, most = 0, 0

    async def work(places: Places, wanted: int) -> None:
        nonlocal held, most
        taken = await places.take(wanted)
        held += taken
        most = max(most, held)
        await asyncio.sleep(0.001)
        held -= taken
        places.give_back(taken)

    async def together() -> None:
        places = Places()
        given_up = asyncio.create_task(work(places, 3))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(work(places, 4))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(given_up, waiting, return_exceptions=True)
        await asyncio.gather(*(work(places, wanted) for wanted in (1, 20, 4, 1, 1, 8, 2, 3) * 5))

    asyncio.run(asyncio.wait_for(together(), 10))
    assert (held, most) == (0, 4)
