"""Mail servers that say what a test tells them to, byte for byte, over TLS on 127.0.0.1."""

import base64
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

GREETING = b"* OK The Microsoft Exchange IMAP4 service is ready. [TABPAE4A]\r\n"
CAPABILITY = b"* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT LITERAL+\r\n"

READING = re.compile(
    r"CAPABILITY|AUTHENTICATE XOAUTH2|LIST .*|EXAMINE .*|UID SEARCH (UID [\d:*,]+|SINCE \S+ BEFORE \S+)"
    r"|LOGOUT|UID FETCH [\d:,]+ \(UID (RFC822\.SIZE INTERNALDATE FLAGS|BODY\.PEEK\[.*\])\)"
)
"""Every command that a reader may send: none changes anything."""


@dataclass
class Rule:
    """What to answer to commands that match: ``$`` at the start of a line is the tag."""

    command: re.Pattern[str]
    answer: bytes
    times: int
    hang_up: bool


@dataclass
class Message:
    """One message of the default folder."""

    content: bytes
    flags: str = ""
    size: int | None = None
    date: str = "24-Nov-2025 13:00:07 +0100"


@dataclass
class Scripted:
    """What a test says of a server, and what the server saw."""

    greeting: bytes
    port: int = 0
    commands: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    connections: int = 0
    rules: list[Rule] = field(default_factory=list)

    def answer(self, command: str, answer: bytes, *, times: int = 1, hang_up: bool = False) -> None:
        """From now on answer so to ``command`` (a regular expression), ``times`` times."""
        self.rules.append(Rule(re.compile(command), answer, times, hang_up))

    def sent(self, command: str) -> list[str]:
        """The commands that match, in order."""
        return [each for each in self.commands if re.match(command, each)]

    def rule_for(self, command: str) -> Rule | None:
        for rule in self.rules:
            if rule.times and rule.command.match(command):
                rule.times -= 1
                return rule
        return None

    def take(self, line: str, lines: BinaryIO, say: Callable[[bytes], None]) -> bool:
        """Answer a line of the client; whether to go on."""
        raise NotImplementedError


@dataclass
class ScriptedServer(Scripted):
    """A folder with messages that answers like a good server, but for the rules a test adds."""

    greeting: bytes = GREETING
    messages: dict[int, Message] = field(default_factory=dict)
    uid_validity: int = 7
    capability: bytes = CAPABILITY
    folders: bytes = b'* LIST (\\HasNoChildren) "/" INBOX\r\n'

    def add(self, *contents: bytes) -> None:
        """More messages, with the next UIDs."""
        for content in contents:
            self.messages[max(self.messages, default=0) + 1] = Message(content)

    def take(self, line: str, lines: BinaryIO, say: Callable[[bytes], None]) -> bool:
        tag, _, command = line.partition(" ")
        self.commands.append(command)
        rule = self.rule_for(command)
        if command.startswith("AUTHENTICATE") and not (rule and rule.answer.startswith(b"$ BAD")):
            say(b"+ \r\n")
            self.tokens.append(base64.b64decode(lines.readline()).decode())
            told = rule.answer if rule else b"$ OK AUTHENTICATE completed.\r\n"
            if told.startswith(b"+"):
                challenge, _, told = told.partition(b"\r\n")
                say(challenge + b"\r\n")
                self.tokens.append(lines.readline().decode())
        else:
            told = rule.answer if rule else self.usual(command)
        say(re.sub(rb"(?m)^\$(?= )", tag.encode(), told))
        return not (rule and rule.hang_up)

    def usual(self, command: str) -> bytes:
        """What a good server says."""
        verb = command.split(maxsplit=1)[0]
        if verb == "CAPABILITY":
            return self.capability + b"$ OK CAPABILITY completed.\r\n"
        if verb == "LIST":
            return self.folders + b"$ OK LIST completed.\r\n"
        if verb == "EXAMINE":
            return self._examined()
        if verb == "LOGOUT":
            return b"* BYE Microsoft Exchange Server IMAP4 server signing off.\r\n$ OK LOGOUT completed.\r\n"
        if command.startswith("UID SEARCH"):
            key, value = command.split()[2:4]
            uids = self._in_set(value if key == "UID" else "1:*")
            found = " ".join(map(str, uids))
            return f"* SEARCH {found}\r\n$ OK SEARCH completed.\r\n".encode()
        if command.startswith("UID FETCH"):
            uids = self._in_set(command.split()[2])
            return b"".join(map(self.fetched(command), uids)) + b"$ OK FETCH completed.\r\n"
        return b"$ BAD Command Argument Error. 12\r\n"

    def fetched(self, command: str) -> Callable[[int], bytes]:
        """How one message is told in answer to ``command``."""

        def listed(uid: int) -> bytes:
            one = self.messages[uid]
            size = len(one.content) if one.size is None else one.size
            told = f'* 1 FETCH (UID {uid} RFC822.SIZE {size} INTERNALDATE "{one.date}" FLAGS ({one.flags}))'
            return f"{told}\r\n".encode()

        def body(uid: int) -> bytes:
            content = self.messages[uid].content
            if "HEADER" in command:
                content = content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                return literal(uid, content, b"HEADER.FIELDS (MESSAGE-ID DATE FROM SENDER SUBJECT)")
            return literal(uid, content)

        return body if "BODY" in command else listed

    def _examined(self) -> bytes:
        uid_next = max(self.messages, default=0) + 1
        return (
            f"* {len(self.messages)} EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen \\Answered)\r\n"
            f"* OK [UIDVALIDITY {self.uid_validity}] UIDVALIDITY value\r\n"
            f"* OK [UIDNEXT {uid_next}] The next unique identifier value\r\n"
            "$ OK [READ-ONLY] EXAMINE completed.\r\n"
        ).encode()

    def _in_set(self, text: str) -> list[int]:
        last = max(self.messages, default=0)
        found: set[int] = set()
        for part in text.split(","):
            low, _, high = part.partition(":")
            ends = sorted(last if each == "*" else int(each) for each in (low, high or low))
            found |= {uid for uid in self.messages if ends[0] <= uid <= ends[1]}
        return sorted(found)


def literal(uid: int, content: bytes, section: bytes = b"") -> bytes:
    """A FETCH response with a message, or a section of it, as Exchange sends it."""
    return b"* 1 FETCH (UID %d BODY[%s] {%d}\r\n%s)\r\n" % (uid, section, len(content), content)


Server = TypeVar("Server", bound=Scripted)


@contextmanager
def serving(server: Server, certificate: Path) -> Iterator[Server]:
    """Let it listen; every connection is closed at the end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        acceptor = threading.Thread(target=_accept, args=(listener, server, context, threads))
        acceptor.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for each in threads:
                each.join(10)


def _accept(
    listener: socket.socket, server: Scripted, context: ssl.SSLContext, threads: list[threading.Thread]
) -> None:
    with suppress(OSError):
        while True:
            plain, _peer = listener.accept()
            server.connections += 1
            threads.append(threading.Thread(target=_talk, args=(plain, server, context)))
            threads[-1].start()


def _talk(plain: socket.socket, server: Scripted, context: ssl.SSLContext) -> None:
    with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
        connection.settimeout(10)
        connection.sendall(server.greeting)
        with connection.makefile("rb") as lines:
            for line in lines:
                if not server.take(line.decode().rstrip("\r\n"), lines, connection.sendall):
                    return
