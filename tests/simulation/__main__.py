"""``make simulate``: as many histories as asked, side by side; what fails can be replayed and shrunk.

python -m tests.simulation --histories 10000 --seed 1 --jobs 2
python -m tests.simulation --replay 4711 [--shrink]
python -m tests.simulation --mutants --histories 300
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.simulation.history import History, draw, shrink
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.world import live

_AT_ONCE = 25
"""Histories that a worker is given at a time."""
_SHOWN = 20
"""Failures that are told one by one."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What is wrong with one history, and the story until then."""

    seed: int
    what: str
    story: str

    @property
    def kind(self) -> str:
        """The failure without the names of what it happened to."""
        words = self.what.split("\n", 1)[0].split()
        return " ".join(word for word in words if word.isalpha())[:60]


def attempt(seed: int, history: History | None = None) -> Failure | None:
    """Let the history of a seed happen in a folder of its own."""
    fast = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a RAM disk, for a folder of its own
    with TemporaryDirectory(prefix="mailover-simulation-", dir=fast) as folder:
        try:
            live(history or draw(seed), Path(folder), seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, the history shows a bug
            told = f"{type(error).__name__}: {error}"
            return Failure(seed, told, "\n".join(getattr(error, "__notes__", ())))
    return None


def _attempt_all(seeds: list[int]) -> list[Failure]:
    return [failure for seed in seeds if (failure := attempt(seed))]


def run(first: int, histories: int, jobs: int) -> Iterator[tuple[int, list[Failure]]]:
    """How many histories have happened, and what failed, as the workers tell it."""
    seeds = iter(range(first, first + histories))
    chunks = list(iter(lambda: list(islice(seeds, _AT_ONCE)), []))
    if jobs == 1:
        for chunk in chunks:
            yield len(chunk), _attempt_all(chunk)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for chunk, failures in zip(chunks, pool.map(_attempt_all, chunks), strict=True):
            yield len(chunk), failures


def simulate(first: int, histories: int, jobs: int) -> int:
    """Run histories, tell how it goes, and return how many failed."""
    began, done, kinds = time.monotonic(), 0, Counter[str]()
    for count, failures in run(first, histories, jobs):
        done += count
        for failure in failures:
            kinds[failure.kind] += 1
            if kinds.total() <= _SHOWN:
                click.echo(f"seed {failure.seed}: {failure.what}")
        rate = done / (time.monotonic() - began)
        if done % 1000 < count or done == histories:
            click.echo(f"{done:,} histories, {rate:.1f}/s, {kinds.total()} failed", err=True)
    for kind, count in kinds.most_common():
        click.echo(f"{count:6,} × {kind}")
    rate = done / (time.monotonic() - began)
    click.echo(f"{done:,} histories from seed {first}: {kinds.total()} failed, {rate:.1f} histories/s")
    return kinds.total()


def replay(seed: int, *, smaller: bool) -> int:
    """Tell the story of one seed, or of the smallest part of its history that fails alike."""
    history = draw(seed)
    failure = attempt(seed)
    if failure and smaller:
        kind = failure.kind
        history = shrink(
            history, lambda part: (found := attempt(seed, part)) is not None and found.kind == kind
        )
        failure = attempt(seed, history)
    click.echo(history)
    if failure is None:
        click.echo("nothing is wrong")
        return 0
    click.echo(f"\n{failure.story}\n\n{failure.what}")
    return 1


def hunt(mutant: Mutant, first: int, histories: int) -> tuple[int, Failure | None]:
    """How many histories it takes to find a mutant, and what the last one shows: None where it is not found.

    The first are those that have shown it before.
    """
    seeds = [*mutant.kills, *range(first, first + histories)]
    with mutant.alive():
        for number, seed in enumerate(seeds, 1):
            failure = attempt(seed)
            if failure:
                return number, failure
    return len(seeds), None


def hunt_all(first: int, histories: int, jobs: int) -> int:
    """Hunt every mutant, tell how each was found, and return how many were not."""
    survivors = 0
    click.echo(f"{'mutant':72} after   seed  what it shows")
    with ProcessPoolExecutor(jobs) as pool:
        found = pool.map(hunt, MUTANTS, repeat(first), repeat(histories))
        for mutant, (count, failure) in zip(MUTANTS, found, strict=True):
            survivors += failure is None
            told = f"{failure.seed:6}  {failure.what.splitlines()[0]}" if failure else "  SURVIVES"
            click.echo(f"{mutant.name:72} {count:5,} {told}"[:200])
    click.echo(
        f"{len(MUTANTS)} mutants, {survivors} not found within {histories:,} histories from seed {first}"
    )
    return survivors


@click.command()
@click.option("--histories", default=1000, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True, help="The first one's seed; the others follow.")
@click.option("--jobs", default=os.cpu_count() or 1, help="Processes side by side.")
@click.option("--replay", "again", type=int, help="Tell the story of this seed.")
@click.option("--mutants", is_flag=True, help="Hunt each of the mutants with that many histories.")
@click.option("--shrink", "smaller", is_flag=True, help="With --replay: the smallest part that fails.")
def main(histories: int, seed: int, jobs: int, again: int | None, mutants: bool, smaller: bool) -> None:
    """Random histories against the real ingest and cutover code."""
    if again is not None:
        sys.exit(replay(again, smaller=smaller))
    sys.exit(bool((hunt_all if mutants else simulate)(seed, histories, jobs)))


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets must be the same in every replay.
        os.execve(  # noqa: S606 - this very program
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    main()
