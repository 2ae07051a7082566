"""How much work the benchmarks are given."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Counts are of messages, unless they say otherwise."""

    label: str
    rounds: int
    """Alternating rounds of what takes seconds; what takes long has fewer."""
    mail: int
    """In the mailbox of each mail set that is read in full."""
    parsed: int
    """Of each mail set, made into records."""
    graph: tuple[int, int]
    """Small and business-like, from the static Graph server."""
    idle: int
    """In the mailbox of the idle rounds, and ten times as many in the larger one."""
    in_mailboxes: tuple[int, int]
    """How many mailboxes of how many messages a Dagster job reads."""
    indexed: int
    """In the index that is searched."""
    large: int
    """In the mailbox whose reading must not take more memory."""
    largest: int
    """Bytes of the largest message in it."""
    hours: float
    """Of reading at Graph's limit, on a virtual clock."""
    sets: tuple[str, ...] = ("business", "small")
    protocols: tuple[str, ...] = ("imap", "pop3", "graph")


FULL = Scale("full", 3, 20_000, 400, (4000, 1000), 300, (20, 1000), 1_000_000, 100_000, 20_000_000, 6.0)
QUICK = Scale("quick", 3, 2_000, 100, (1000, 200), 100, (5, 200), 30_000, 5_000, 20_000_000, 1.0)
TINY = Scale("tiny", 1, 30, 5, (30, 10), 10, (2, 5), 60, 30, 100_000, 0.2, ("small",), ("pop3",))
"""Shows that everything runs, and nothing else."""
