"""Bringing a mailbox over POP3: Mailover's source beside the standard library's poplib.

    python -m benchmarks.pop3_fetch                  two sets of generated mail
    python -m benchmarks.pop3_fetch --rounds 9 --json

Both read the same Dovecot on this computer over TLS, sign in, list, fetch every message, and write
it to a file in memory-backed storage where there is some. "One at a time" is Mailover before a server
that does not say PIPELINING, as Exchange Online does not; "bare socket" is what that costs at least.
Rounds alternate; the figures are medians of wall time and of this computer's user and system time for
the reader (the server's not counted).
"""

import socket
import ssl
from pathlib import Path
from unittest.mock import patch

from benchmarks.poplib_alone import download
from benchmarks.racing import Reader, mailover, main
from pipelines.sources import ProtocolName
from pipelines.sources.pop3_wire import Pop3Connection
from tests.dovecot_fixture import PASSWORD, Dovecot


def one_at_a_time(server: Dovecot, address: str, into: Path) -> None:
    with patch.object(Pop3Connection, "capabilities", lambda _connection: {"TOP": "", "UIDL": ""}):
        mailover(ProtocolName.POP3)(server, address, into)


def plain_poplib(server: Dovecot, address: str, into: Path) -> None:
    download(server.pop3_port, server.ca_file, address, PASSWORD, into)


def bare_socket(server: Dovecot, address: str, into: Path) -> None:
    """What one round trip for each message takes: nothing is looked at but the end of an answer."""

    def ask(command: str, end: bytes) -> bytes:
        connection.sendall(f"{command}\r\n".encode())
        pieces = [connection.recv(65536)]
        while not pieces[-1].endswith(end) and not b"".join(pieces[-2:]).endswith(end):
            pieces.append(connection.recv(65536))
        return b"".join(pieces)

    context = ssl.create_default_context(cafile=server.ca_file)
    with (
        socket.create_connection(("localhost", server.pop3_port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.recv(65536)
        ask(f"USER {address}", b"\r\n")
        ask(f"PASS {PASSWORD}", b"\r\n")
        for line in ask("UIDL", b"\r\n.\r\n").split(b"\r\n")[1:-2]:
            number, uidl = line.decode().split()
            (into / uidl).write_bytes(ask(f"RETR {number}", b"\r\n.\r\n"))


READERS: dict[str, Reader] = {
    "mailover": mailover(ProtocolName.POP3),
    "mailover, one at a time": one_at_a_time,
    "poplib": plain_poplib,
    "bare socket": bare_socket,
}


if __name__ == "__main__":
    main(__doc__, READERS)
