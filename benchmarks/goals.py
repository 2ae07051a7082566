"""What the pipelines are to reach, and which function of the benchmarks measures it."""

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks import dagster_job, graph, growth, idle, ingest, memory, mime, pace, pop3_fetch, racing
from benchmarks.mime import business_mail, small_mail
from benchmarks.scale import Scale
from tests.dovecot_fixture import Dovecot, running_dovecot

SETS = {"business": business_mail, "small": small_mail}
Samples = dict[str, list[float]]
"""What was measured for each row, round by round."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A row of the table."""

    row: str
    what: str
    limit: float
    unit: str = "x"
    at_least: bool = False
    """Whether more is better."""

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Rows that are measured together."""

    name: str
    goals: Sequence[Goal]
    measure: Callable[[Scale], Samples]


def delivered(scale: Scale) -> Iterator[tuple[str, Dovecot, str]]:
    """Each mail set's name, and the Dovecot and address at which it lies; new ones for each."""
    for name in scale.sets:
        with running_dovecot() as server:
            address = f"{name}@contoso.com"
            server.mailbox(address).deliver(*map(SETS[name], range(scale.mail)))
            yield name, server, address


def measure_ingest(scale: Scale) -> Samples:
    found = {}
    for name, server, address in delivered(scale):
        taken = ingest.race(ingest.RIVALS, server, address, scale.rounds)
        for rival, row in (("mbsync + mu", "mu"), ("mbsync + notmuch", "notmuch"), ("mbsync", "mbsync")):
            found[f"{row}, {name}"] = ingest.ratios(taken, "mailover", rival)
    return found


def measure_mime(scale: Scale) -> Samples:
    return {
        f"mime, {name}": mime.ratios(
            mime.timed([SETS[name](number) for number in range(scale.parsed)], scale.rounds),
            "email, same fields",
        )
        for name in scale.sets
    }


def measure_pop3(scale: Scale) -> Samples:
    readers = {name: pop3_fetch.READERS[name] for name in ("mailover", "poplib")}
    found = {}
    for name, server, address in delivered(scale):
        taken = ingest.race(ingest.POP3_RIVALS, server, address, scale.rounds)
        found[f"pop3, {name}"] = ingest.ratios(taken, "mailover", "poplib")
        times = racing.timed(readers, server, address, scale.mail, scale.rounds)
        pairs = zip(times["poplib"], times["mailover"], strict=True)
        found[f"pop3 download, {name}"] = [theirs / ours for (theirs, _), (ours, _) in pairs]
    return found


def measure_graph(scale: Scale) -> Samples:
    found = {}
    for name, count in zip(("small", "business"), scale.graph, strict=True):
        with graph.serving(name, count) as server:
            if name == "small":
                listed = graph.timed(graph.LISTING, server, scale.rounds)
                found["graph listing"] = graph.ratios(listed, "mailover, JSON")
                models = graph.ratios(listed, "msgraph-sdk, models")
                found["graph models"] = [
                    theirs / ours for theirs, ours in zip(models, found["graph listing"], strict=True)
                ]
            fetched = graph.timed(graph.MESSAGES, server, scale.rounds)
            found[f"graph MIME, {name}"] = graph.ratios(fetched, "mailover")
    return found


def measure_pace(scale: Scale) -> Samples:
    shares = [pace.reading(scale.hours, seed)["share"] for seed in range(scale.rounds)]
    return {"graph limit": [100 * share for share in shares]}


def measure_stages(scale: Scale) -> Samples:
    rivals = {"first": ingest.mailover_by("imap"), "again": ingest.mailover_by("imap", "messages")}
    return {
        f"again, {name}": ingest.ratios(
            ingest.race(rivals, server, address, scale.rounds, one_place=True), "again", "first"
        )
        for name, server, address in delivered(scale)
    }


def measure_idle(scale: Scale) -> Samples:
    found = {}
    for protocol in scale.protocols:
        taken = idle.compare(protocol, scale.idle, 3 * scale.rounds)
        found[f"idle CPU, {protocol}"] = taken["cpu_ms"]
        found[f"idle requests, {protocol}"] = taken["requests_growth"]
    return found


def measure_dagster(scale: Scale) -> Samples:
    return {"dagster": dagster_job.ratios(dagster_job.compare(*scale.in_mailboxes, scale.rounds), 0)}


def measure_search(scale: Scale) -> Samples:
    with growth.growing() as workspace:
        workspace.grow(scale.indexed)
        chances = [random.Random(number) for number in range(scale.rounds)]
        return {
            name: [
                growth.percentile(growth.searched(workspace, queries(workspace, chance)), 95)
                for chance in chances
            ]
            for name, queries in (("field", growth.field_searches), ("words", growth.word_searches))
        }


def measure_memory(scale: Scale) -> Samples:
    return {
        f"memory, {protocol}": [memory.measure(protocol, scale.large, scale.largest)["beyond_largest_mb"]]
        for protocol in scale.protocols
    }


BENCHMARKS = (
    Benchmark(
        "ingest",
        [
            Goal("mu, business", "full IMAP ingest : mbsync + mu index", 0.8),
            Goal("mu, small", "full IMAP ingest : mbsync + mu index", 0.2),
            Goal("notmuch, business", "full IMAP ingest : mbsync + notmuch new", 0.12),
            Goal("notmuch, small", "full IMAP ingest : mbsync + notmuch new", 0.05),
            Goal("mbsync, business", "full IMAP ingest : mbsync alone", 5),
            Goal("mbsync, small", "full IMAP ingest : mbsync alone", 4),
        ],
        measure_ingest,
    ),
    Benchmark(
        "mime",
        [
            Goal("mime, business", "email.policy.default : MIME to record", 15, at_least=True),
            Goal("mime, small", "email.policy.default : MIME to record", 35, at_least=True),
        ],
        measure_mime,
    ),
    Benchmark(
        "pop3",
        [
            Goal("pop3, business", "full POP3 ingest : poplib's download", 1),
            Goal("pop3, small", "full POP3 ingest : poplib's download", 1),
            Goal("pop3 download, business", "poplib's download : POP3 download", 2, at_least=True),
            Goal("pop3 download, small", "poplib's download : POP3 download", 2, at_least=True),
        ],
        measure_pop3,
    ),
    Benchmark(
        "graph",
        [
            Goal("graph listing", "listing as JSON : bare httpx and JSON", 1.2),
            Goal("graph models", "msgraph-sdk's models : listing", 85, at_least=True),
            Goal("graph MIME, business", "MIME, 4 in flight : bare httpx", 1.2),
            Goal("graph MIME, small", "MIME, 4 in flight : bare httpx", 1.2),
        ],
        measure_graph,
    ),
    Benchmark(
        "pace",
        [Goal("graph limit", "share of 16.7 messages a second", 95, "%", at_least=True)],
        measure_pace,
    ),
    Benchmark(
        "again",
        [
            Goal("again, business", "re-normalising : first ingest", 0.5),
            Goal("again, small", "re-normalising : first ingest", 0.5),
        ],
        measure_stages,
    ),
    Benchmark(
        "idle",
        [
            *(
                Goal(f"idle CPU, {protocol}", "idle round, warm process: CPU", 10, "ms")
                for protocol in idle.PROTOCOLS
            ),
            *(
                Goal(f"idle requests, {protocol}", "idle round's requests, of ten times the messages", 1)
                for protocol in idle.PROTOCOLS
            ),
        ],
        measure_idle,
    ),
    Benchmark(
        "dagster",
        [Goal("dagster", "Dagster job : pipelines directly", 1.15)],
        measure_dagster,
    ),
    Benchmark(
        "search",
        [
            Goal("field", "search by field, 95th percentile", 10, "ms"),
            Goal("words", "search for two words, 95th percentile", 50, "ms"),
        ],
        measure_search,
    ),
    Benchmark(
        "memory",
        [
            Goal(f"memory, {protocol}", "peak less 3 x largest message", 300, "MB")
            for protocol in idle.PROTOCOLS
        ],
        measure_memory,
    ),
)


@dataclass(frozen=True, slots=True)
class Result:
    """A row, measured."""

    goal: Goal
    samples: Sequence[float]

    @property
    def value(self) -> float:
        return statistics.median(self.samples)

    @property
    def is_met(self) -> bool:
        return self.goal.is_met(self.value)


def results(benchmark: Benchmark, scale: Scale) -> list[Result]:
    """Measure a benchmark's rows, those of the scale's mail sets and protocols."""
    samples = benchmark.measure(scale)
    goals = {goal.row: goal for goal in benchmark.goals}
    return [Result(goals[row], each) for row, each in samples.items()]
