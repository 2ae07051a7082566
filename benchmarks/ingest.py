"""A full ingest beside what people use today: mbsync into a Maildir, then mu or notmuch for the words.

    python -m benchmarks.ingest                        business-like and small mail
    python -m benchmarks.ingest --business 20000 --small 20000 --rounds 3 --json

Both read the same mailbox of the same Dovecot on this computer over TLS, from nothing: Mailover
into Parquet (the bytes and the record) and an SQL index with full text, the others into files and a
full-text index; mbsync alone makes files only, the least that bringing mail can cost. Whole processes
are measured, their start included: wall and CPU time. Rounds alternate; figures are medians, ratios
those of Mailover's wall time to the other's in the same round.
"""

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from benchmarks.imap_fetch import mbsync_settings
from benchmarks.mime import business_mail, small_mail
from benchmarks.racing import Commands, Cost, run, scratch
from pipelines.ingest.report import Outcome
from pipelines.ingest.stages import Stage, run_stage
from tests.dovecot_fixture import PASSWORD, Dovecot, running_dovecot
from tests.dovecot_workspace import DovecotWorkspace

Rival = Callable[[Dovecot, str, Path], Commands]
"""Commands that read the Inbox of an address into a folder."""


def mailover_by(protocol: str, stage: str = "raw_messages") -> Rival:
    """This module again, as a process of its own; a later ``stage`` needs what an earlier run left."""

    def commands(server: Dovecot, address: str, into: Path) -> Commands:
        place = f"{server.root}:{server.imap_port}:{server.pop3_port}"
        arguments = ["--ingest", place, address, str(into), protocol, stage]
        return [([sys.executable, "-m", "benchmarks.ingest", *arguments], {})]

    return commands


def poplib_alone(server: Dovecot, address: str, into: Path) -> Commands:
    arguments = [str(server.pop3_port), str(server.ca_file), address, PASSWORD, str(into)]
    return [([sys.executable, "-m", "benchmarks.poplib_alone", *arguments], {})]


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


RIVALS: dict[str, Rival] = {
    "mailover": mailover_by("imap"),
    "mbsync": mbsync,
    "mbsync + mu": mbsync_and_mu,
    "mbsync + notmuch": mbsync_and_notmuch,
}


POP3_RIVALS: dict[str, Rival] = {"mailover": mailover_by("pop3"), "poplib": poplib_alone}


def ingest_once(place: str, address: str, into: str, protocol: str, stage: str) -> None:
    legacy: Literal["imap", "pop3"] = "pop3" if protocol == "pop3" else "imap"
    root, imap, pop3 = place.split(":")
    server = Dovecot(Path(root), (0, 0), int(imap), int(pop3))
    with DovecotWorkspace(server, Path(into), address, legacy=legacy) as workspace:
        (report,) = run_stage(workspace, Stage(stage), workspace.config.mailboxes)
    assert report.outcome is Outcome.DONE, report.error
    assert report.messages


def race(
    rivals: Mapping[str, Rival], server: Dovecot, address: str, rounds: int, *, one_place: bool = False
) -> dict[str, list[Cost]]:
    """What each rival took in each round. ``one_place``: each goes on where the one before it ended."""
    taken: dict[str, list[Cost]] = {name: [] for name in rivals}
    for number in range(-1, rounds):
        with scratch() as place:
            for name, commands in rivals.items():
                into = place if one_place else place / name.replace(" ", "")
                into.mkdir(exist_ok=True)
                cost = run(commands(server, address, into))
                if not one_place:
                    shutil.rmtree(into)
                if number >= 0:  # the first round fills the server's caches
                    taken[name].append(cost)
    return taken


def ratios(taken: Mapping[str, list[Cost]], name: str, rival: str) -> list[float]:
    """Wall time of one to another's, round by round."""
    return [ours.wall / theirs.wall for ours, theirs in zip(taken[name], taken[rival], strict=True)]


def figures(taken: Mapping[str, list[Cost]], mails: Sequence[bytes]) -> dict[str, dict[str, float]]:
    megabytes = sum(map(len, mails)) / 1e6
    found = {}
    for name, costs in taken.items():
        wall = statistics.median(cost.wall for cost in costs)
        found[name] = {
            "wall_s": wall,
            "cpu_s": statistics.median(cost.cpu for cost in costs),
            "messages_per_s": len(mails) / wall,
            "mb_per_s": megabytes / wall,
            "mailover_ratio": statistics.median(ratios(taken, "mailover", name)),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=int, default=5000, help="messages of some 3 KB (default 5000)")
    parser.add_argument("--business", type=int, default=2000, help="messages of some 77 KB (default 2000)")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds (default 3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--ingest", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ingest:
        ingest_once(*options.ingest)
        return
    sets = {
        "business": [business_mail(number) for number in range(options.business)],
        "small": [small_mail(number) for number in range(options.small)],
    }
    found = {}
    with running_dovecot() as server:
        for name, mails in sets.items():
            server.mailbox(f"{name}@contoso.com").deliver(*mails)
            taken = race(RIVALS, server, f"{name}@contoso.com", options.rounds)
            found[name] = figures(taken, mails)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, mails in sets.items():
        print(f"{name}: {len(mails)} messages, {sum(map(len, mails)) / 1e6:.1f} MB")
        for rival, row in found[name].items():
            print(
                f"  {rival:18} {row['wall_s']:6.2f} s  CPU {row['cpu_s']:6.2f} s"
                f"  {row['messages_per_s']:6.0f} messages/s  {row['mb_per_s']:6.1f} MB/s"
                f"  mailover x{row['mailover_ratio']:5.2f}"
            )


if __name__ == "__main__":
    main()
