"""The pace that is kept for each mailbox, over virtual hours."""

import asyncio
from itertools import pairwise

import pytest

from benchmarks.pace import VirtualClock, reading
from pipelines.auth import TokenProvider
from pipelines.config import Tenant
from pipelines.sources.graph_limits import MAILBOX, Pace, _paces, pace_of, tenant_pace_of
from pipelines.sources.graph_loop import Places
from pipelines.sources.graph_session import GraphSession
from tests.sources.conftest import graph_tenant_at

LIMIT, WINDOW = 10_000, 600.0


def sent(pace: Pace, clock: VirtualClock, count: int, weight: int = 1) -> list[float]:
    """The moments at which ``count`` requests went out."""
    moments = []
    for _ in range(0, count, weight):
        pace.admit(weight)
        moments += [clock.monotonic()] * weight
    return moments


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
    moments = sent(Pace(clock), clock, 40_000)
    assert moments[MAILBOX.burst - 1] == 0
    assert max(later - earlier for earlier, later in pairwise(moments)) < 1
    assert 40_000 / moments[-1] > 0.97 * 10_000 / 600


def test_hours_of_reading_reach_the_limit_of_the_sandbox_and_are_never_throttled() -> None:
    figures = reading(hours=2)
    assert figures["throttled"] == 0
    assert figures["share"] >= 0.97
    assert figures["longest_wait_s"] < 2


@pytest.mark.parametrize(("way", "answer"), [(0.0, 0.02), (0.3, 0.05)])
def test_whatever_way_requests_take_the_sandbox_throttles_none(way: float, answer: float) -> None:
    assert reading(hours=0.5, way=way, answer=answer)["throttled"] == 0


def test_the_memory_of_a_pace_does_not_grow_with_what_is_sent() -> None:
    clock = VirtualClock()
    pace = Pace(clock)
    sent(pace, clock, 50_000)
    assert len(pace._log) <= MAILBOX.seconds + 1


def test_paces_of_mailboxes_that_were_read_long_ago_are_forgotten() -> None:
    clock = VirtualClock()
    tokens = TokenProvider(graph_tenant_at("https://localhost:1/v1.0", None))
    busy = pace_of(tokens, "busy@contoso.com", clock)
    for number in range(1_000):
        pace_of(tokens, f"u{number}@contoso.com", clock).admit()
        busy.admit()
        clock.sleep(10)
    assert pace_of(tokens, "busy@contoso.com", clock) is busy
    assert len(_paces[tokens]) < 3 * MAILBOX.seconds / 10


def test_a_tenants_requests_are_bounded_over_its_mailboxes() -> None:
    tenant = graph_tenant_at("https://localhost:1/v1.0", None).model_copy(update={"requests_per_second": 50})
    tokens, clock = TokenProvider(tenant), VirtualClock()
    sessions = [GraphSession(tenant, f"u{number}@contoso.com", tokens, clock, ()) for number in range(40)]
    assert len({id(each._tenant_pace) for each in sessions}) == 1
    pace = tenant_pace_of(tokens, 50, clock)
    moments = []
    for _ in range(9_000):
        pace.admit()
        moments.append(clock.passed)
    assert moments[49] == 0
    for end, moment in enumerate(moments):
        assert end < 3_000 or moment - moments[end - 3_000] >= 60
    assert 9_000 / moments[-1] > 0.95 * 50


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
