"""How long a tenant of many mailboxes takes, on a virtual clock: first full sync, rounds without news, waves.

    python -m benchmarks.capacity                            10,000 mailboxes
    python -m benchmarks.capacity --mailboxes 500 --runs 2 --json
    python -m benchmarks.capacity --plots docs               also draws how it grows

Nothing is read: mailboxes of made-up sizes are walked as the pipelines walk them, in Dagster's runs of
`ingest.mailboxes_per_run` mailboxes, `ingest.concurrency` of them at a time. Each mailbox keeps to the
pipelines' own `Pace`, and all of them to another one for the tenant's limit. Answers take the time that
is assumed; bytes and CPU seconds queue for the network and for the run's process, which is one core.
Every figure that is assumed is an option. docs/capacity.md says what follows.
"""

import argparse
import json
import math
import random
from collections import defaultdict, deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.drawing import Line, draw_lines
from benchmarks.pace import PER_SECOND, VirtualClock
from pipelines.sources.graph_limits import AT_ONCE, Limit, Pace
from pipelines.sources.graph_requests import PAGE

WELL_KNOWN = 8
"""Requests of the batch that asks for the well-known folders."""
LOT = 100
"""Requests that are admitted together, so that large tenants are simulated in seconds."""
OWN_LIMIT, ALL_LIMIT, FLIGHT = "Graph's limit for a mailbox", "Graph's limit for all", "four in flight"
CPU, NETWORK, IN_TURN = "CPU", "bandwidth", "one request after the other"


@dataclass(frozen=True, slots=True)
class Tenant:
    """What is assumed. Times are seconds."""

    mailboxes: int = field(default=10_000, metadata={"help": "mailboxes of the tenant"})
    messages: int = field(default=8_000, metadata={"help": "messages of the median mailbox"})
    spread: float = field(default=1.0, metadata={"help": "sigma of the log-normal distribution of sizes"})
    kilobytes: float = field(default=80.0, metadata={"help": "mean size of a message"})
    folders: int = field(default=12, metadata={"help": "folders of a mailbox that are read"})
    parents: int = field(default=3, metadata={"help": "folders with folders inside"})
    new_a_day: int = field(default=60, metadata={"help": "new messages of a mailbox in a day"})
    wave: int = field(default=500, metadata={"help": "mailboxes of a wave"})
    answer: float = field(default=0.15, metadata={"help": "seconds until Graph answers with a message"})
    page: float = field(default=1.0, metadata={"help": "seconds until Graph answers with a page of 500"})
    small: float = field(default=0.1, metadata={"help": "seconds until Graph answers anything else"})
    cpu: float = field(default=0.004, metadata={"help": "CPU seconds for a message"})
    idle_cpu: float = field(default=0.06, metadata={"help": "CPU seconds for a mailbox's round in Dagster"})
    listed_cpu: float = field(default=0.0003, metadata={"help": "CPU seconds for a message that is compared"})
    start: float = field(default=5.0, metadata={"help": "seconds until a run has started"})
    megabytes: float = field(default=100.0, metadata={"help": "MB a second of all machines' network"})
    cores: int = field(default=8, metadata={"help": "cores of all machines"})
    runs: int = field(default=8, metadata={"help": "runs at once (max_concurrent_runs)"})
    concurrency: int = field(default=8, metadata={"help": "ingest.concurrency"})
    per_run: int = field(default=100, metadata={"help": "ingest.mailboxes_per_run"})
    tick: float = field(default=900.0, metadata={"help": "seconds between two ticks of ingest_schedule"})
    at_once: int = field(default=20, metadata={"help": "cutover.at_once"})
    sensor: float = field(default=300.0, metadata={"help": "seconds between two ticks of promote_waves"})
    clean_parities: int = field(default=3, metadata={"help": "cutover.clean_parities"})
    per_second: int = field(default=2000, metadata={"help": "Graph requests a second of one application"})
    seed: int = field(default=1, metadata={"help": "of the sizes"})

    @property
    def asked_at_least(self) -> int:
        """Requests of a round, whatever is new: see docs/graph.md."""
        return WELL_KNOWN + 1 + self.parents + 2 * self.folders

    def sizes(self) -> list[int]:
        """Messages of each mailbox."""
        chance = random.Random(self.seed)
        middle = math.log(self.messages)
        return [round(chance.lognormvariate(middle, self.spread)) for _ in range(self.mailboxes)]


class Work(NamedTuple):
    """One mailbox's pass."""

    messages: int
    """That are new to it."""
    bodies: bool = True
    """Whether they are fetched, or only listed and compared."""


@dataclass(eq=False, slots=True)
class Run:
    """A Dagster run: mailboxes that wait, how many are being read, and when its one core is free."""

    waiting: deque[Work]
    reading: int = 0
    core_free: float = 0.0


@dataclass(slots=True)
class Account:
    """What a simulation saw."""

    seconds: float = 0.0
    requests: int = 0
    messages: int = 0
    megabytes: float = 0.0
    bound: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds of mailboxes being read, by what they waited for."""
    ends: list[float] = field(default_factory=list)
    """When each mailbox was read to its end."""
    places: float = 0.0
    """Seconds in which a place of a run was there, summed over places."""

    def to_json(self) -> dict[str, Any]:
        reading = sum(self.bound.values())
        shares = sorted(self.bound.items(), key=lambda each: -each[1])
        ends = sorted(self.ends)
        return {
            "hours": self.seconds / 3600,
            "half_of_the_mailboxes_after_hours": ends[len(ends) // 2] / 3600,
            "messages": self.messages,
            "terabytes": self.megabytes / 1e6,
            "requests": self.requests,
            "requests_per_hour": self.requests / self.seconds * 3600,
            "messages_per_second": self.messages / self.seconds,
            "bound_by": {name: seconds / reading for name, seconds in shares},
            "places_in_use": reading / self.places,
        }


Passing = Generator[float, None, None]
"""Something that takes time: each value is the moment at which it is to go on."""


class Simulation:
    """Mailboxes' passes in runs, on a virtual clock."""

    def __init__(self, tenant: Tenant, works: Sequence[Work]) -> None:
        self._tenant, self._account = tenant, Account()
        self._clock = VirtualClock()
        self._all = Pace(self._clock, Limit(tenant.per_second * 60, 60.0, tenant.per_second))
        self._network_free = 0.0
        chunked = range(0, len(works), tenant.per_run)
        self._queue = deque(Run(deque(works[at : at + tenant.per_run])) for at in chunked)
        self._at_once = min(tenant.runs, len(self._queue))
        # More runs than cores share them.
        self._slowed = max(1.0, self._at_once / tenant.cores)
        self._going: list[tuple[float, int, Passing]] = []
        self._order = count()

    def finish(self) -> Account:
        """Everything read to its end."""
        for _ in range(self._at_once):
            self._go(self._next_run())
        while self._going:
            self._clock.passed, _, passing = heappop(self._going)
            self._go(passing)
        account = self._account
        account.seconds = self._clock.passed
        account.places = account.seconds * self._at_once * self._tenant.concurrency
        return account

    def _go(self, passing: Passing) -> None:
        moment = next(passing, None)
        if moment is not None:
            heappush(self._going, (moment, next(self._order), passing))

    def _next_run(self) -> Passing:
        """One run after the other; a run ends with its last mailbox."""
        if self._queue:
            run = self._queue.popleft()
            yield self._clock.passed + self._tenant.start
            run.reading = min(self._tenant.concurrency, len(run.waiting))
            for _ in range(run.reading):
                self._go(self._place(run))

    def _place(self, run: Run) -> Passing:
        """One mailbox after the other."""
        while run.waiting:
            yield from self._pass(run, run.waiting.popleft())
            self._account.ends.append(self._clock.passed)
        run.reading -= 1
        if not run.reading:
            yield from self._next_run()

    def _pass(self, run: Run, work: Work) -> Passing:
        """The requests of every round, one after the other: folders, deltas, counts; then pages of news."""
        tenant, pace = self._tenant, Pace(self._clock)
        asked = tenant.asked_at_least
        yield from self._admitted(pace, asked)
        waits = {IN_TURN: (asked - WELL_KNOWN) * tenant.small}
        yield self._done(waits | {CPU: self._core(run, tenant.idle_cpu)})
        for start in range(0, work.messages, PAGE):
            listed = min(PAGE, work.messages - start)
            answered = self._clock.passed + tenant.page
            yield from self._admitted(pace, 1 + listed * work.bodies)
            waits = {FLIGHT: answered - self._clock.passed}
            if work.bodies:
                # While requests wait for their leave, earlier ones are answered.
                waits[FLIGHT] = max(waits[FLIGHT] + listed * tenant.answer / AT_ONCE, tenant.answer)
                waits[NETWORK] = self._transfer(listed)
            yield self._done(
                waits | {CPU: self._core(run, listed * (tenant.cpu if work.bodies else tenant.listed_cpu))}
            )

    def _admitted(self, pace: Pace, requests: int) -> Passing:
        """Until both paces have let the requests go."""
        self._account.requests += requests
        for start in range(0, requests, LOT):
            for bound, each in ((OWN_LIMIT, pace), (ALL_LIMIT, self._all)):
                now = self._clock.passed
                each.admit(min(LOT, requests - start))
                self._account.bound[bound] += self._clock.passed - now
                if self._clock.passed > now:
                    yield self._clock.passed

    def _core(self, run: Run, seconds: float) -> float:
        """Seconds until the run's core has done so much more."""
        run.core_free = max(run.core_free, self._clock.passed) + seconds * self._slowed
        return run.core_free - self._clock.passed

    def _transfer(self, messages: int) -> float:
        """Seconds until the network has brought so many more."""
        megabytes = messages * self._tenant.kilobytes / 1000
        self._account.messages += messages
        self._account.megabytes += megabytes
        self._network_free = max(self._network_free, self._clock.passed) + megabytes / self._tenant.megabytes
        return self._network_free - self._clock.passed

    def _done(self, waits: Mapping[str, float]) -> float:
        """When the longest of these is over; it is what the mailbox is bound by."""
        bound = max(waits, key=lambda each: waits[each])
        self._account.bound[bound] += max(waits[bound], 0.0)
        return self._clock.passed + max(waits[bound], 0.0)


def first_sync(tenant: Tenant) -> Account:
    """Every mailbox, from nothing."""
    return Simulation(tenant, [Work(size) for size in tenant.sizes()]).finish()


def round_(tenant: Tenant, *, new: bool = True) -> Account:
    """One tick over every mailbox, with what has come in since the last one, or nothing."""
    chance = random.Random(tenant.seed)
    expected = tenant.new_a_day * tenant.tick / 86_400
    news = [math.floor(expected + chance.random()) if new else 0 for _ in range(tenant.mailboxes)]
    return Simulation(tenant, [Work(each) for each in news]).finish()


def wave(tenant: Tenant) -> dict[str, float]:
    """Hours of a wave from its first mailbox in the shadow to its last one on Graph, and what they go to."""
    sizes = tenant.sizes()[: tenant.wave]
    listing = Simulation(tenant, [Work(size, bodies=False) for size in sizes]).finish()
    shadow = round_(replace(tenant, mailboxes=len(sizes)), new=False)
    steps = -(-len(sizes) // tenant.at_once)
    switch = 2 * sum(shadow.bound.values()) / len(sizes)
    into_shadow = steps * tenant.sensor
    rounds = max(tenant.tick, listing.seconds) + (tenant.clean_parities - 1) * max(
        tenant.tick, shadow.seconds
    )
    onto_graph = steps * max(tenant.sensor, tenant.at_once * switch)
    return {
        "hours": (into_shadow + rounds + onto_graph) / 3600,
        "into_shadow_hours": into_shadow / 3600,
        "clean_parities_hours": rounds / 3600,
        "first_comparison_hours": listing.seconds / 3600,
        "first_comparison_requests": listing.requests,
        "onto_graph_hours": onto_graph / 3600,
        "switch_seconds": switch,
    }


def measure(tenant: Tenant) -> dict[str, Any]:
    """Everything docs/capacity.md tells, and what was assumed for it."""
    first, idle, usual = first_sync(tenant), round_(tenant, new=False), round_(tenant)
    sizes = sorted(tenant.sizes())
    return {
        "assumed": asdict(tenant),
        "sizes": {
            "median": sizes[len(sizes) // 2],
            "mean": round(sum(sizes) / len(sizes)),
            "largest": sizes[-1],
        },
        "largest_mailbox_hours": sizes[-1] / PER_SECOND / 3600,
        "first_sync": first.to_json(),
        "idle_round": idle.to_json() | {"requests_per_mailbox": tenant.asked_at_least},
        "usual_round": usual.to_json(),
        "ticks_requests_per_hour": usual.requests / max(tenant.tick, usual.seconds) * 3600,
        "wave": wave(tenant),
    }


def syncs_by_runs(tenant: Tenant) -> dict[str, Line]:
    """Hours of the first sync, by the runs at once, for each time that Graph takes to answer."""
    runs = [1, 2, 4, 8, 16, 32]
    return {
        f"{answer * 1000:.0f} ms": [
            (each, first_sync(replace(tenant, answer=answer, runs=each, cores=each)).seconds / 3600)
            for each in runs
        ]
        for answer in (0.15, 0.3, 0.6)
    }


def rounds_by_mailboxes(tenant: Tenant) -> dict[str, Line]:
    """Minutes of a round with usual news, by the mailboxes of the tenant, for each concurrency."""
    return {
        str(concurrency): [
            (each, round_(replace(tenant, mailboxes=each, concurrency=concurrency)).seconds / 60)
            for each in (100, 300, 1_000, 3_000, 10_000)
        ]
        for concurrency in (4, 8, 16, 32)
    }


def draw(tenant: Tenant, folder: Path) -> None:
    """Both as SVG."""
    syncs = draw_lines(
        syncs_by_runs(tenant),
        f"Hours of a first full sync of {tenant.mailboxes:,} mailboxes, a core for each run",
        across="runs at once",
        key="Graph answers in",
    )
    (folder / "capacity-first-sync.svg").write_text(syncs)
    rounds = draw_lines(
        rounds_by_mailboxes(tenant),
        f"Minutes of a round, {tenant.runs} runs at once",
        across="mailboxes",
        key="ingest.concurrency",
    )
    (folder / "capacity-rounds.svg").write_text(rounds)


def _tell(figures: dict[str, Any]) -> None:
    first, moved = figures["first_sync"], figures["wave"]
    print(
        f"first full sync   {first['hours']:7.1f} h    {first['messages']:,} messages, "
        f"{first['terabytes']:.1f} TB, {first['requests_per_hour']:,.0f} requests an hour; {_shares(first)}"
    )
    print(f"{'':29}places in use {first['places_in_use']:.0%}")
    print(f"largest mailbox   {figures['largest_mailbox_hours']:7.1f} h    at Graph's limit for one mailbox")
    for name in ("idle round", "usual round"):
        row = figures[name.replace(" ", "_")]
        print(f"{name:17} {row['hours'] * 60:7.1f} min  {row['requests']:,} requests; {_shares(row)}")
    print(f"scheduled rounds              {figures['ticks_requests_per_hour']:,.0f} requests an hour")
    print(
        f"a wave            {moved['hours']:7.1f} h    into the shadow {moved['into_shadow_hours']:.1f}, "
        f"clean parities {moved['clean_parities_hours']:.1f} (the first comparison "
        f"{moved['first_comparison_hours']:.1f}), onto Graph {moved['onto_graph_hours']:.1f}"
    )


def _shares(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in row["bound_by"].items() if share >= 0.005)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for each in fields(Tenant):
        name = f"--{each.name.replace('_', '-')}"
        kind = type(each.default)
        parser.add_argument(
            name, type=kind, default=each.default, help=f"{each.metadata['help']} (default {each.default})"
        )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw how it grows into this folder")
    options = vars(parser.parse_args())
    as_json, plots = options.pop("json"), options.pop("plots")
    tenant = Tenant(**options)
    figures = measure(tenant)
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        _tell(figures)
    if plots:
        draw(tenant, plots)


if __name__ == "__main__":
    main()
