"""``make simulate``: as many histories as asked, side by side; a failing seed replays.

python -m tests.simulation --histories 10000 --jobs 2
python -m tests.simulation --replay 4711
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.simulation.history import draw, shrink
from tests.simulation.world import live

_IN_A_ROW = 25
"""Histories that one process lives before it tells how they went."""


def fails(seed: int) -> str | None:
    """What is wrong with the history of a seed; None where every invariant holds."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108
        try:
            live(draw(seed), Path(folder), seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
            return f"{type(error).__name__}: {error}"
    return None


def some(seeds: Sequence[int]) -> dict[int, str]:
    """The failures among the histories of some seeds."""
    return {seed: wrong for seed in seeds if (wrong := fails(seed))}


def campaign(first: int, histories: int, jobs: int) -> dict[int, str]:
    """Live through all of them and say how it goes; the failures by seed."""
    runs = [
        range(at, min(at + _IN_A_ROW, first + histories)) for at in range(first, first + histories, _IN_A_ROW)
    ]
    failed: dict[int, str] = {}
    began, done = time.monotonic(), 0
    with ProcessPoolExecutor(jobs) as pool:
        for seeds, found in zip(runs, pool.map(some, runs), strict=True):
            done += len(seeds)
            failed |= found
            rate = done / (time.monotonic() - began)
            sys.stderr.write(f"\r{done:,} histories, {rate:.1f} a second, {len(failed)} failed ")
    sys.stderr.write("\n")
    return failed


def replay(seed: int) -> int:
    """Tell the history of a seed, and the shortest one that fails like it."""
    history = draw(seed)
    sys.stdout.write(f"{history}\n")
    wrong = fails(seed)
    if wrong is None:
        sys.stdout.write("every invariant holds\n")
        return 0
    sys.stdout.write(f"\n{wrong}\n\nShortest:\n")

    def still_fails(shorter: object) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            try:
                live(shorter, Path(folder), seed)  # type: ignore[arg-type]
            except Exception:  # noqa: BLE001 - see above
                return True
        return False

    sys.stdout.write(f"{shrink(history, still_fails)}\n")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--replay", type=int, metavar="SEED")
    given = parser.parse_args()
    if given.replay is not None:
        return replay(given.replay)
    failed = campaign(given.seed, given.histories, given.jobs)
    for seed, wrong in failed.items():
        sys.stdout.write(f"{seed}: {wrong.splitlines()[0]}\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
