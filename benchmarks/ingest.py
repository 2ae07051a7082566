"""A full ingest beside what people use today: mbsync into a Maildir, then mu or notmuch for the words.

    python -m benchmarks.ingest                        business-like and small mail
    python -m benchmarks.ingest --business 20000 --small 20000 --rounds 3 --json

Both read the same mailbox of the same Dovecot on this computer over TLS, from nothing: Mailover
into Parquet (the bytes and the record) and an SQL index with full text, the others into files and a
full-text index; mbsync alone makes files only, the least that bringing mail can cost. Whole processes
are measured, their start included: wall time, CPU time and peak memory. Rounds alternate; figures are
medians, ratios those of Mailover's wall time to the other's in the same round.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.imap_fetch import mbsync_settings
from benchmarks.mime import business_mail, small_mail
from benchmarks.racing import MEMORY
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import Outcome
from tests.dovecot_fixture import Dovecot, running_dovecot
from tests.dovecot_workspace import DovecotWorkspace

Commands = list[tuple[list[str], dict[str, str]]]


def mailover(server: Dovecot, address: str, into: Path) -> Commands:
    """This module again, as a process of its own."""
    place = f"{server.root}:{server.imap_port}:{server.pop3_port}"
    return [([sys.executable, "-m", "benchmarks.ingest", "--ingest", place, address, str(into)], {})]


def mbsync(server: Dovecot, address: str, into: Path) -> Commands:
    return [(["mbsync", "-q", "-c", str(mbsync_settings(server, address, into)), "all"], {})]


def mbsync_and_mu(server: Dovecot, address: str, into: Path) -> Commands:
    home = f"--muhome={into}/mu"
    return [
        *mbsync(server, address, into),
        (["mu", "init", "--quiet", home, f"--maildir={into}/inbox"], {}),
        (["mu", "index", "--quiet", home], {}),
    ]


def mbsync_and_notmuch(server: Dovecot, address: str, into: Path) -> Commands:
    settings = into / "notmuchrc"
    settings.write_text(
        f"[database]\npath={into}\n[new]\nignore=mbsyncrc;notmuchrc;.mbsyncstate;.uidvalidity\n"
    )
    notmuch = (["notmuch", "new", "--quiet"], {"NOTMUCH_CONFIG": str(settings)})
    return [*mbsync(server, address, into), notmuch]


RIVALS: dict[str, Callable[[Dovecot, str, Path], Commands]] = {
    "mailover": mailover,
    "mbsync": mbsync,
    "mbsync + mu": mbsync_and_mu,
    "mbsync + notmuch": mbsync_and_notmuch,
}


def ingest_once(place: str, address: str, into: str) -> None:
    root, imap, pop3 = place.split(":")
    server = Dovecot(Path(root), (0, 0), int(imap), int(pop3))
    with DovecotWorkspace(server, Path(into), address) as workspace:
        report = ingest_mailbox(workspace, workspace.config.mailbox(address))
    assert report.outcome is Outcome.DONE, report.error


def measure(commands: Commands) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of processes run one after the other."""
    wall, cpu, peak = time.perf_counter(), 0.0, 0.0
    for command, more in commands:
        process = subprocess.Popen(
            command, env={**os.environ, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        cpu += used.ru_utime + used.ru_stime
        peak = max(peak, used.ru_maxrss / 1024)
    return time.perf_counter() - wall, cpu, peak


def race(server: Dovecot, address: str, mails: Sequence[bytes], rounds: int) -> dict[str, dict[str, float]]:
    server.mailbox(address).deliver(*mails)
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in RIVALS}
    for number in range(-1, rounds):
        for name, commands in RIVALS.items():
            into = Path(tempfile.mkdtemp(prefix="ingest-", dir=MEMORY if MEMORY.is_dir() else None))
            try:
                figures = measure(commands(server, address, into))
            finally:
                shutil.rmtree(into)
            if number >= 0:  # the first round fills the server's caches
                taken[name].append(figures)
    megabytes = sum(map(len, mails)) / 1e6
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in taken.items()
    }
    return {
        name: {
            "wall_s": wall,
            "cpu_s": cpu,
            "peak_mb": peak,
            "messages_per_s": len(mails) / wall,
            "mb_per_s": megabytes / wall,
            "wall_ratio": wall / medians["mbsync + notmuch"][0],
        }
        for name, (wall, cpu, peak) in medians.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=int, default=5000, help="messages of some 3 KB (default 5000)")
    parser.add_argument("--business", type=int, default=2000, help="messages of some 77 KB (default 2000)")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds (default 3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--ingest", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ingest:
        ingest_once(*options.ingest)
        return
    sets = {
        "business": [business_mail(number) for number in range(options.business)],
        "small": [small_mail(number) for number in range(options.small)],
    }
    with running_dovecot() as server:
        figures = {
            name: race(server, f"{name}@contoso.com", mails, options.rounds) for name, mails in sets.items()
        }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, mails in sets.items():
        print(f"{name}: {len(mails)} messages, {sum(map(len, mails)) / 1e6:.1f} MB")
        for rival, row in figures[name].items():
            print(
                f"  {rival:18} {row['wall_s']:6.2f} s  CPU {row['cpu_s']:6.2f} s"
                f"  {row['messages_per_s']:6.0f} messages/s  {row['mb_per_s']:6.1f} MB/s"
                f"  peak {row['peak_mb']:5.0f} MB  x{row['wall_ratio']:5.2f} wall"
            )


if __name__ == "__main__":
    main()
