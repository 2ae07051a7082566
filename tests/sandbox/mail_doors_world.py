"""A small tenant with only its mail doors open, and clients for them."""

import imaplib
import poplib
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
from imapclient import IMAPClient

from pipelines.auth.sasl import xoauth2
from pipelines.sandbox.entra import OUTLOOK, Entra
from pipelines.sandbox.faults import Fault, Faults
from pipelines.sandbox.identity import Identity
from pipelines.sandbox.mail_doors import Behaviour, MailDoors, start_mail_doors
from pipelines.sandbox.store import Message, Store

KIM = "kim.akers@contoso.com"
CLOSED = "closed@contoso.com"
ROLES = ("IMAP.AccessAsApp", "POP.AccessAsApp")
WHEN = datetime(2026, 3, 2, 10, 20, 30, tzinfo=UTC)

ODD_MAIL = {
    "long lines": b"Subject: long\r\n\r\n" + b"x" * 100_000 + b"\r\n" + b"y" * 3_000 + b"\r\n",
    "lone dots": b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n...\r\nb.\r\n.\r\n",
    "a dot first": b".\r\nSubject: odd\r\n\r\n.\r\n",
    "8-bit": b"Subject: caf\xe9 \xc3\xa9\r\n\r\n" + bytes(range(128, 256)) + b"\r\n",
    "NUL": b"Subject: nul\r\n\r\na\x00b\x00\r\n\x00\r\n",
    "no body": b"Subject: head only\r\n",
    "empty body": b"Subject: empty\r\n\r\n",
    "no header": b"\r\nonly a body\r\n",
    "one line end": b"\r\n",
    "dots over chunk borders": b"Subject: d\r\n\r\n" + b".\r\n" * 100_000,
}
MAIL = b"""\
From: "Lee \\\\ Gu" <lee@contoso.com>
To: kim.akers@contoso.com, "Z, M" <z@contoso.com>
Subject: Budget
\tfor 2027
Date: Mon, 2 Mar 2026 10:20:00 +0000
Message-ID: <budget[1]@contoso.com>
X-Note: first
x-note: second

Hello
""".replace(b"\n", b"\r\n")


@dataclass
class World:
    """What a test works with."""

    store: Store
    faults: Faults
    entra: Entra
    identity: Identity
    doors: MailDoors
    opened: list[socket.socket] = field(default_factory=list)

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.identity.ca_file))

    def deliver(self, mime: bytes = MAIL, folder: str = "Inbox", *flags: str) -> Message:
        return self.store.deliver(KIM, folder, mime, WHEN, frozenset(flags))

    def fault(self, fault: Fault) -> None:
        self.faults.add(fault)

    def token(
        self, audience: str = OUTLOOK, roles: tuple[str, ...] = ROLES, seconds: float = 600, padding: str = ""
    ) -> str:
        now = int(time.time())
        claims = {"aud": audience, "roles": list(roles), "iat": now, "exp": now + seconds, "pad": padding}
        return jwt.encode(claims, self.identity.signing_key, algorithm="RS256")

    def sasl(self, address: str = KIM, token: str | None = None) -> bytes:
        return b64encode(xoauth2(address, token or self.token()))

    def imap(self, address: str = KIM, token: str | None = None) -> imaplib.IMAP4_SSL:
        client = imaplib.IMAP4_SSL("127.0.0.1", self.doors.imap_port, ssl_context=self.tls, timeout=20)
        self.opened.append(client.sock)
        client.authenticate("XOAUTH2", lambda _: xoauth2(address, token or self.token()))
        return client

    def imapclient(self) -> Any:
        client: Any = IMAPClient("127.0.0.1", self.doors.imap_port, ssl_context=self.tls, timeout=20)
        self.opened.append(client.socket())
        client.oauth2_login(KIM, self.token())
        return client

    def pop3(self, address: str = KIM, token: str | None = None) -> poplib.POP3_SSL:
        client = poplib.POP3_SSL("127.0.0.1", self.doors.pop3_port, context=self.tls, timeout=20)
        self.opened.append(client.sock)
        client._shortcmd("AUTH XOAUTH2")  # type: ignore[attr-defined]
        client._shortcmd(self.sasl(address, token).decode())  # type: ignore[attr-defined]
        return client

    def wire(self, port: int) -> "Wire":
        plain = socket.create_connection(("127.0.0.1", port), timeout=20)
        secure = self.tls.wrap_socket(plain, server_hostname="127.0.0.1")
        self.opened.append(secure)
        return Wire(secure)


class Wire:
    """A client that sends and reads bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.file = connection.makefile("rb")
        self.greeting = self.file.readline()

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def line(self) -> bytes:
        return self.file.readline()

    def ask(self, command: bytes) -> list[bytes]:
        """The answer to an IMAP command, up to its tagged line or the end of the connection."""
        self.send(command + b"\r\n")
        tag, lines = command.split()[0], []
        while line := self.line():
            lines.append(line.removesuffix(b"\r\n"))
            if line.startswith((tag + b" ", b"+")):
                break
        return lines

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return self.file.read()


@contextmanager
def open_doors(identity: Identity, directory: Path, behaviour: Behaviour | None = None) -> Iterator[World]:
    """Start and stop the doors over an almost empty store."""
    store, faults = Store(directory / "store"), Faults()
    store.create_mailbox(KIM)
    store.create_folder(KIM, "Inbox", "inbox")
    store.create_mailbox(CLOSED, granted=False)
    store.create_folder(CLOSED, "Inbox", "inbox")
    entra = Entra(identity, faults)
    doors = start_mail_doors(store, entra.verify, faults, identity.server_file, behaviour=behaviour)
    world = World(store, faults, entra, identity, doors)
    try:
        yield world
    finally:
        for connection in world.opened:
            connection.close()
        doors.stop()
        store.close()
