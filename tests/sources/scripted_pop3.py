"""A POP3 server that answers like a good one, but for the rules that a test adds."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from tests.sources.scripted import Scripted

READING = re.compile(r"CAPA|AUTH XOAUTH2|UIDL|LIST|STAT|RETR \d+|TOP \d+ 0|RSET|QUIT")
"""Every command that a reader may send: none changes anything."""
CAPABILITIES = b"TOP\r\nUIDL\r\nSASL PLAIN XOAUTH2\r\nUSER\r\n"


def lines(text: bytes) -> bytes:
    """An answer of several lines: dots doubled, the end mark behind."""
    stuffed = re.sub(rb"(?:(?<=\r\n)|\A)\.", b"..", text)
    return b"+OK\r\n" + stuffed + (b"" if text.endswith(b"\r\n") or not text else b"\r\n") + b".\r\n"


@dataclass
class ScriptedPop3(Scripted):
    """A maildrop whose messages are numbered at each sign-in, as RFC 1939 has it.

    Rules name the second step of a sign-in ``RESPONSE``.
    """

    greeting: bytes = b"+OK The Microsoft Exchange POP3 service is ready. [TABPAE4A]\r\n"
    capabilities: bytes = CAPABILITIES
    messages: dict[str, bytes] = field(default_factory=dict)
    """Content by unique-id."""
    numbered: list[str] = field(default_factory=list)
    """Unique-ids as the last session numbers them."""

    def add(self, *contents: bytes) -> None:
        """More messages, with unique-ids of their own."""
        for content in contents:
            self.messages[f"uid{len(self.messages) + 1}"] = content

    def take(self, line: str, lines: BinaryIO, say: Callable[[bytes], None]) -> bool:
        self.commands.append(line)
        rule = self.rule_for(line)
        if line == "AUTH XOAUTH2" and rule is None:
            say(b"+ \r\n")
            self.tokens.append(base64.b64decode(lines.readline()).decode())
            self.numbered = list(self.messages)
            rule = self.rule_for("RESPONSE")
            told = rule.answer if rule else b"+OK User successfully authenticated.\r\n"
            if told.startswith(b"+ "):
                challenge, _, told = told.partition(b"\r\n")
                say(challenge + b"\r\n")
                self.tokens.append(lines.readline().decode())
        else:
            told = rule.answer if rule else self.usual(line)
        say(told)
        return line != "QUIT" and not (rule and rule.hang_up)

    def usual(self, command: str) -> bytes:
        """What a good server says."""
        verb, *arguments = command.split()
        if verb == "CAPA":
            return lines(self.capabilities)
        if verb == "UIDL":
            return lines(b"".join(b"%d %s\r\n" % (n, each.encode()) for n, each in self._listed()))
        if verb == "LIST":
            sizes = (b"%d %d\r\n" % (n, len(self.messages.get(each, b""))) for n, each in self._listed())
            return lines(b"".join(sizes))
        if verb == "STAT":
            return b"+OK %d 9999\r\n" % len(self.numbered)
        if verb in ("RSET", "QUIT"):
            return b"+OK\r\n"
        if verb in ("RETR", "TOP"):
            content = self.messages.get(self.numbered[int(arguments[0]) - 1])
            if content is None:
                return b"-ERR There's no such message.\r\n"
            return lines(content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if verb == "TOP" else content)
        return b"-ERR Protocol error. 14\r\n"

    def _listed(self) -> list[tuple[int, str]]:
        return list(enumerate(self.numbered, start=1))
