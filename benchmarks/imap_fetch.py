"""Bringing a mailbox over IMAP: Mailover's source beside imapclient, imaplib and mbsync.

    python -m benchmarks.imap_fetch                  two sets of generated mail
    python -m benchmarks.imap_fetch --rounds 9 --json

All read the same Dovecot on this computer over TLS, sign in, list, fetch every message, and write
it to a file in memory-backed storage where there is some. Rounds alternate; the figures are medians
of wall time and of this computer's user and system time for the reader (the server's not counted).
mbsync runs as a process of its own; the others in this one, whose start is not counted.
"""

import argparse
import imaplib
import json
import re
import resource
import shutil
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from imapclient import IMAPClient

from benchmarks.mime import business_mail, small_mail
from pipelines.clock import SystemClock
from pipelines.sources import Fetched, Folder, Page, ProtocolName, Role, open_source
from tests.dovecot_fixture import PASSWORD, Dovecot, running_dovecot

BATCH = 250
MEMORY = Path("/dev/shm")  # noqa: S108 - files that are gone with the run
_UID = re.compile(rb"UID (\d+)")

Reader = Callable[[Dovecot, str, Path], None]


def mailover(server: Dovecot, address: str, into: Path) -> None:
    config = server.config(address)
    source = open_source(
        config, config.mailboxes[0], ProtocolName.IMAP, server.tokens(address), SystemClock()
    )
    with closing(source):
        folder = Folder("Inbox", Role.INBOX, "INBOX")
        for page in source.changes(folder, None):
            assert isinstance(page, Page)
            for outcome in source.fetch(folder, page.entries):
                assert isinstance(outcome, Fetched)
                (into / outcome.entry.native_id).write_bytes(outcome.mime)


def imapclient_as_shipped(server: Dovecot, address: str, into: Path) -> None:
    context = ssl.create_default_context(cafile=server.ca_file)
    with IMAPClient("localhost", server.imap_port, ssl_context=context) as client:
        client.plain_login(address, PASSWORD)
        client.select_folder("INBOX", readonly=True)
        uids = list(client.search())
        for start in range(0, len(uids), BATCH):
            wanted = ["RFC822.SIZE", "INTERNALDATE", "FLAGS", "BODY.PEEK[]"]
            fetched = client.fetch(uids[start : start + BATCH], wanted)
            for uid, items in fetched.items():
                (into / str(uid)).write_bytes(items[b"BODY[]"])


def imaplib_alone(server: Dovecot, address: str, into: Path) -> None:
    context = ssl.create_default_context(cafile=server.ca_file)
    with imaplib.IMAP4_SSL("localhost", server.imap_port, ssl_context=context) as client:
        client.authenticate("PLAIN", lambda _: f"\0{address}\0{PASSWORD}".encode())
        client.select("INBOX", readonly=True)
        uids = client.uid("SEARCH", "ALL")[1][0].split()
        for start in range(0, len(uids), BATCH):
            wanted = b",".join(uids[start : start + BATCH]).decode()
            _status, data = client.uid("FETCH", wanted, "(UID RFC822.SIZE INTERNALDATE FLAGS BODY.PEEK[])")
            for piece in data:
                if isinstance(piece, tuple):
                    uid = _UID.search(piece[0])
                    assert uid
                    (into / uid[1].decode()).write_bytes(piece[1])


def mbsync_settings(server: Dovecot, address: str, into: Path) -> Path:
    """A configuration that pulls the Inbox into a Maildir below ``into``."""
    settings = into / "mbsyncrc"
    settings.write_text(
        "FSync no\n\n"
        f"IMAPStore far\nHost localhost\nPort {server.imap_port}\nUser {address}\nPass {PASSWORD}\n"
        f"SSLType IMAPS\nCertificateFile {server.ca_file}\nAuthMechs PLAIN\n\n"
        f"MaildirStore near\nInbox {into}/inbox\n\n"
        "Channel all\nFar :far:\nNear :near:\nSync Pull New\nCreate Near\nSyncState *\n"
    )
    return settings


def mbsync(server: Dovecot, address: str, into: Path) -> None:
    settings = mbsync_settings(server, address, into)
    subprocess.run(["mbsync", "-q", "-c", str(settings), "all"], check=True, stdout=subprocess.DEVNULL)


READERS: dict[str, Reader] = {
    "mailover": mailover,
    "imapclient as shipped": imapclient_as_shipped,
    "imaplib": imaplib_alone,
    "mbsync": mbsync,
}


@contextmanager
def scratch() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="imap-fetch-", dir=MEMORY if MEMORY.is_dir() else None))
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


def race(server: Dovecot, address: str, mails: Sequence[bytes], rounds: int) -> dict[str, dict[str, float]]:
    server.mailbox(address).deliver(*mails)
    readers = {name: read for name, read in READERS.items() if name != "mbsync" or shutil.which("mbsync")}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    for number in range(-1, rounds):
        for name, read in readers.items():
            taken = seconds(read, server, address, len(mails))
            if number >= 0:  # the first round fills the server's caches
                times[name].append(taken)
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
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
            name: race(server, f"{name}@contoso.com", mails, options.rounds) for name, mails in sets.items()
        }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, mails in sets.items():
        print(f"{name}: {len(mails)} messages, {sum(map(len, mails)) / 1e6:.1f} MB")
        for reader, row in figures[name].items():
            print(
                f"  {reader:22} {row['wall_s']:6.2f} s  CPU {row['cpu_s']:6.2f} s"
                f"  {row['messages_per_s']:7.0f} messages/s  {row['mb_per_s']:6.1f} MB/s"
                f"  x{row['wall_ratio']:5.2f} wall  x{row['cpu_ratio']:5.2f} CPU"
            )


if __name__ == "__main__":
    main()
