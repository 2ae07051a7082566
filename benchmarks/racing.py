"""Racing readers of one mailbox of one Dovecot: what the fetch benchmarks have in common."""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mime import business_mail, small_mail
from pipelines.clock import SystemClock
from pipelines.sources import Fetched, Folder, Page, ProtocolName, Role, open_source
from tests.dovecot_fixture import Dovecot, running_dovecot

MEMORY = Path("/dev/shm")  # noqa: S108 - files that are gone with the run

Reader = Callable[[Dovecot, str, Path], None]
"""Reads the Inbox of an address into files below a folder, one each."""


def mailover(protocol: ProtocolName) -> Reader:
    """Mailover's source for ``protocol``."""

    def read(server: Dovecot, address: str, into: Path) -> None:
        config = server.config(address)
        source = open_source(config, config.mailboxes[0], protocol, server.tokens(address), SystemClock())
        with closing(source):
            folder = Folder("Inbox", Role.INBOX, "INBOX")
            for page in source.changes(folder, None):
                assert isinstance(page, Page)
                for outcome in source.fetch(folder, page.entries):
                    assert isinstance(outcome, Fetched)
                    (into / outcome.entry.native_id).write_bytes(outcome.mime)

    return read


@contextmanager
def scratch() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="fetch-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def seconds(read: Reader, server: Dovecot, address: str, messages: int) -> tuple[float, float]:
    """Wall and CPU time of one run, after which every message has to be there."""
    with scratch() as into:
        wall, cpu = time.perf_counter(), cpu_seconds()
        read(server, address, into)
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        # mbsync sorts into new and cur of a Maildir, beside its own state.
        maildir = [each for part in ("new", "cur") for each in into.glob(f"inbox/{part}/*")]
        found = len(maildir or list(into.iterdir()))
        assert found == messages, f"{found} of {messages} messages"
    return wall, cpu


def cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


Commands = list[tuple[list[str], dict[str, str]]]
"""Commands to run one after the other, each with what it needs in its environment."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What processes took, their start included."""

    wall: float
    cpu: float


def run(commands: Commands) -> Cost:
    """Run processes one after the other. Each has to end well."""
    started, cpu = time.perf_counter(), 0.0
    for command, more in commands:
        process = subprocess.Popen(
            command, env={**os.environ, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        cpu += used.ru_utime + used.ru_stime
    return Cost(time.perf_counter() - started, cpu)


def timed(
    readers: Mapping[str, Reader], server: Dovecot, address: str, messages: int, rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU time of each reader in each round."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    for number in range(-1, rounds):
        for name, read in readers.items():
            taken = seconds(read, server, address, messages)
            if number >= 0:  # the first round fills the server's caches
                times[name].append(taken)
    return times


def race(
    readers: Mapping[str, Reader], server: Dovecot, address: str, mails: Sequence[bytes], rounds: int
) -> dict[str, dict[str, float]]:
    server.mailbox(address).deliver(*mails)
    times = timed(readers, server, address, len(mails), rounds)
    megabytes = sum(map(len, mails)) / 1e6
    return {name: summary(taken, times["mailover"], len(mails), megabytes) for name, taken in times.items()}


def summary(
    taken: list[tuple[float, float]], ours: list[tuple[float, float]], messages: int, megabytes: float
) -> dict[str, float]:
    wall = statistics.median(each[0] for each in taken)
    pairs = list(zip(taken, ours, strict=True))
    return {
        "wall_s": wall,
        "cpu_s": statistics.median(each[1] for each in taken),
        "messages_per_s": messages / wall,
        "mb_per_s": megabytes / wall,
        "wall_ratio": statistics.median(theirs[0] / own[0] for theirs, own in pairs),
        "cpu_ratio": statistics.median(theirs[1] / own[1] for theirs, own in pairs),
    }


def main(description: str | None, readers: Mapping[str, Reader]) -> None:
    """The benchmark's command line: race ``readers``, ``mailover`` among them, over two sets of mail."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=int, default=5000, help="messages of some 3 KB (default 5000)")
    parser.add_argument("--business", type=int, default=1000, help="messages of some 77 KB (default 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    sets = {
        "small": [small_mail(number) for number in range(options.small)],
        "business": [business_mail(number) for number in range(options.business)],
    }
    with running_dovecot() as server:
        figures = {
            name: race(readers, server, f"{name}@contoso.com", mails, options.rounds)
            for name, mails in sets.items()
        }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, mails in sets.items():
        print(f"{name}: {len(mails)} messages, {sum(map(len, mails)) / 1e6:.1f} MB")
        for reader, row in figures[name].items():
            print(
                f"  {reader:24} {row['wall_s']:6.2f} s  CPU {row['cpu_s']:6.2f} s"
                f"  {row['messages_per_s']:7.0f} messages/s  {row['mb_per_s']:6.1f} MB/s"
                f"  x{row['wall_ratio']:5.2f} wall  x{row['cpu_ratio']:5.2f} CPU"
            )
