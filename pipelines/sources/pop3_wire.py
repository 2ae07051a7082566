"""POP3 as bytes (RFC 1939, RFC 2449): answers cut where they end, listings read.

Messages are read in the pieces that arrive, not line by line: a body of megabytes in one line
is as good as any other, and the end mark is looked for once.
"""

import hashlib
import re
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pipelines.sources.mail_faults import CommandRefusedError

_PIECE = 16 * 1024
"""Bytes asked for at once: a TLS record holds no more."""
_LONGEST_LINE = 64 * 1024
_END = b".\r\n"
_LONGEST_UIDL = 400
"""Characters; RFC 1939 allows 70. Longer ones stand by their digest."""

_DOT = re.compile(rb"\r\n\.")
_UIDL = re.compile(rb"[ \t]*(\d{1,18})[ \t]+([^ \t]+)")
_SIZE = re.compile(rb"[ \t]*(\d{1,18})[ \t]+(\d{1,18})")
_PLAIN = re.compile(rb"[!-~]{1,%d}" % _LONGEST_UIDL)


T = TypeVar("T")


class NotPop3Error(ValueError):
    """What came is no answer of a POP3 server. Never holds what came: it may be mail."""


class SessionRefusedError(ConnectionError):
    """An ``-ERR`` that concerns the session, whatever the command was; ``text`` is the server's."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class NoUniqueIdError(ValueError):
    """A listing names a message without a unique-id, or a unique-id without a message."""


class Answers:
    """What a server sends, cut into status lines and blocks of lines."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        """``receive``: as ``socket.recv``."""
        self._receive = receive
        self._buffer = bytearray()

    def status(self) -> str:
        """The line of a ``+OK`` or of a challenge. Raises ``CommandRefusedError`` for ``-ERR``."""
        line = self._line()
        if line.startswith(b"+"):
            return line.decode("utf-8", "replace")
        if not line.startswith(b"-ERR"):
            raise NotPop3Error
        raise CommandRefusedError(line[len(b"-ERR") :].decode("utf-8", "replace").strip())

    def lines(self) -> bytes:
        """The lines that follow a ``+OK``, each with its CRLF; doubled dots are single again.

        A CR or LF alone is content: only CRLF ends a line. Raises ``CommandRefusedError`` for ``-ERR``.
        """
        self.status()
        buffer = self._buffer
        while len(buffer) < len(_END):
            self._more()
        if buffer.startswith(_END):
            del buffer[: len(_END)]
            return b""
        end, doubled = self._end_of_lines()
        with memoryview(buffer) as view:
            lines = bytes(view[:end])
        del buffer[: end + len(_END)]
        if doubled:
            lines = lines.replace(b"\r\n..", b"\r\n.")
        return lines[1:] if lines.startswith(b"..") else lines

    def _end_of_lines(self) -> tuple[int, bool]:
        """Where the end mark stands, and whether a line before it begins with a dot."""
        buffer, at, dots = self._buffer, 0, False
        while True:
            found = _DOT.search(buffer, at)
            at = found.start() if found else max(0, len(buffer) - 2)
            if found is None or len(buffer) < at + 2 + len(_END):
                self._more()
            elif buffer.startswith(_END, at + 2):
                return at + 2, dots
            else:
                at, dots = at + 1, True

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LONGEST_LINE:
                raise NotPop3Error
            self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def _more(self) -> None:
        piece = self._receive(_PIECE)
        if not piece:
            raise ConnectionResetError("the server closed the connection")
        self._buffer += piece


class Pop3Connection:
    """One connection. After an error other than ``CommandRefusedError`` it is of no more use."""

    def __init__(self, connection: ssl.SSLSocket, ends_session: Callable[[str], bool]) -> None:
        """``connection`` is open and has not been read from; ``ends_session``: of the words of a refusal."""
        self._socket = connection
        self._ends_session = ends_session
        self._answers = Answers(connection.recv)
        self._due = 0
        self._ahead: list[str] = []
        self._read = False
        self._numbers: dict[str, int] | None = None
        self._capabilities: dict[str, str] | None = None

    def greeting(self) -> None:
        """Take the server's greeting. Raises ``CommandRefusedError`` where it turns the client away."""
        self._due = 1
        self._take(self._answers.status)

    def ask(self, line: str) -> str:
        """Send a command, or the next line of a sign-in, and return the status line."""
        self._send([line])
        return self._take(self._answers.status)

    def ask_lines(self, command: str) -> bytes:
        """Send a command that is answered with lines."""
        self._send([command])
        return self._take(self._answers.lines)

    def ask_each(self, commands: Sequence[str]) -> Iterator[bytes | CommandRefusedError]:
        """The lines for each command, in order, or the refusal.

        All are sent at once where the server says that it can take that (PIPELINING, RFC 2449,
        6.6: in any other server commands may be lost), else one after the other. Whoever does not
        read to the end has to give up the connection.
        """
        at_once = self._at_once(commands)
        groups = [list(commands[start : start + at_once]) for start in range(0, len(commands), at_once)]
        for group, following in zip(groups, [*groups[1:], []], strict=True):
            if group != self._ahead:
                self._read = True
                self._send(group)
            self._ahead = []
            for left in range(len(group), 0, -1):
                outcome = self._outcome()
                if left == 1 and following:
                    # Everything is answered: the server may read on while this one is looked at.
                    self._send(following)
                    self._ahead = following
                yield outcome

    def _outcome(self) -> bytes | CommandRefusedError:
        try:
            return self._take(self._answers.lines)
        except CommandRefusedError as refused:
            return refused

    def ask_ahead(self, commands: Sequence[str]) -> None:
        """Let the server begin with what ``ask_each`` will be asked next; nothing else may come between."""
        self._ahead = list(commands[: self._at_once(commands)])
        self._read = True
        self._send(self._ahead)

    def capabilities(self) -> dict[str, str]:
        """What CAPA lists, in upper case, each with its arguments; nothing where the server has no CAPA."""
        if self._capabilities is None:
            try:
                lines = self.ask_lines("CAPA").decode("utf-8", "replace").upper().split("\r\n")
            except CommandRefusedError:
                lines = []
            self._capabilities = dict(line.partition(" ")[::2] for line in lines if line)
        return self._capabilities

    def numbers(self) -> dict[str, int]:
        """Message numbers of this session by native id, in the server's order; asked for once.

        Raises ``CommandRefusedError`` for a server without UIDL, ``NoUniqueIdError`` for half of one.
        """
        if self._numbers is None:
            self._numbers = read_uidl(self.ask_lines("UIDL"))
        return self._numbers

    def sizes(self) -> dict[int, int]:
        """Octets by message number, as LIST tells; nothing where the server refuses."""
        try:
            return read_sizes(self.ask_lines("LIST"))
        except CommandRefusedError:
            return {}

    def count(self) -> int:
        """How many messages STAT counts. ``NotPop3Error`` also where another answer stands in its place."""
        found = re.match(r"\+OK +(\d{1,18}) +\d+\b", self.ask("STAT"), re.IGNORECASE)
        if found is None:
            raise NotPop3Error
        return int(found[1])

    def quit(self, seconds: float) -> None:
        """Sign off, so that the server lets in the next session at once.

        Where messages were read, RSET makes the server forget what QUIT would write down of it
        (Dovecot: that they were seen).
        """
        self._socket.settimeout(seconds)
        if self._read:
            self.ask("RSET")
        self.ask("QUIT")

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self._socket.close()

    def _at_once(self, commands: Sequence[str]) -> int:
        return len(commands) if commands and "PIPELINING" in self.capabilities() else 1

    def _send(self, lines: Sequence[str]) -> None:
        if self._due:
            # Answers still to come would be taken for those to these commands.
            raise ConnectionAbortedError("an earlier answer was not read")
        self._socket.sendall("".join(f"{line}\r\n" for line in lines).encode())
        self._due = len(lines)

    def _take(self, answer: Callable[[], T]) -> T:
        try:
            told = answer()
        except CommandRefusedError as refused:
            if self._ends_session(refused.text):
                raise SessionRefusedError(refused.text) from None
            self._due -= 1
            raise
        self._due -= 1
        return told


def read_uidl(lines: bytes) -> dict[str, int]:
    """Message numbers by native id, in the order of a UIDL listing.

    The native id is the unique-id alone, since numbers change with each session. Copies of one
    unique-id in one listing, which RFC 1939 allows for equal messages, become ``<id> 2``, ``<id> 3``.
    Raises ``NoUniqueIdError`` for a line without either: that message could not be told apart.
    """
    numbers: dict[str, int] = {}
    again = Counter[str]()
    for line in _each(lines):
        found = _UIDL.match(line)
        if found is None:
            raise NoUniqueIdError
        native_id = _native_id(found[2])
        if native_id in numbers:
            again[native_id] += 1
            native_id = f"{native_id} {1 + again[native_id]}"
        numbers[native_id] = int(found[1])
    return numbers


def read_sizes(lines: bytes) -> dict[int, int]:
    """Octets by message number from a LIST listing; what is no scan line is left out."""
    return {int(each[1]): int(each[2]) for each in map(_SIZE.match, _each(lines)) if each}


def _each(lines: bytes) -> Iterator[bytes]:
    """One line after the other: all at once take ten times the room of their text."""
    start = 0
    while (end := lines.find(b"\r\n", start)) >= 0:
        yield lines[start:end]
        start = end + 2


def _native_id(unique_id: bytes) -> str:
    """As it is; by its digest where it is longer than the index can hold, or not printable ASCII."""
    if _PLAIN.fullmatch(unique_id):
        return unique_id.decode("ascii")
    return f"sha256 {hashlib.sha256(unique_id).hexdigest()}"
