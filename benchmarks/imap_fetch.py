"""Bringing a mailbox over IMAP: Mailover's source beside imapclient, imaplib and mbsync.

    python -m benchmarks.imap_fetch                  two sets of generated mail
    python -m benchmarks.imap_fetch --rounds 9 --json

All read the same Dovecot on this computer over TLS, sign in, list, fetch every message, and write
it to a file in memory-backed storage where there is some. Rounds alternate; the figures are medians
of wall time and of this computer's user and system time for the reader (the server's not counted).
mbsync runs as a process of its own; the others in this one, whose start is not counted.
"""

import imaplib
import re
import shutil
import ssl
import subprocess
from pathlib import Path

from imapclient import IMAPClient

from benchmarks.racing import Reader, mailover, main
from pipelines.sources import ProtocolName
from tests.dovecot_fixture import PASSWORD, Dovecot

BATCH = 250
_UID = re.compile(rb"UID (\d+)")


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
    "mailover": mailover(ProtocolName.IMAP),
    "imapclient as shipped": imapclient_as_shipped,
    "imaplib": imaplib_alone,
    "mbsync": mbsync,
}


if __name__ == "__main__":
    main(
        __doc__, {name: read for name, read in READERS.items() if name != "mbsync" or shutil.which("mbsync")}
    )
