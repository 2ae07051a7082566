"""Messages as both mail doors cut them: in chunks, to the header, to single fields."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC

from pipelines.sandbox.faults import Fault, FaultKind
from pipelines.sandbox.store import Message, Store

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CHUNK = 1 << 18
"""Bytes of a message that are in memory at once."""


def header_fields(header: bytes, names: list[bytes], *, without: bool = False) -> bytes:
    """The header lines of ``names`` as they stand, folding included, and the empty line."""
    wanted = {name.upper().strip(b'"') for name in names}
    kept, keep = [], False
    for line in header.split(b"\r\n"):
        if line[:1] not in (b" ", b"\t"):
            keep = (line.partition(b":")[0].rstrip().upper() in wanted) != without
        if keep and line:
            kept.append(line + b"\r\n")
    return b"".join(kept) + b"\r\n"


def header_value(header: bytes, name: bytes) -> bytes | None:
    """The first value of a header field, unfolded."""
    found = header_fields(header, [name]).removesuffix(b"\r\n")
    if not found:
        return None
    lines = found.split(b"\r\n")
    end = next((i for i, line in enumerate(lines) if i and line[:1] not in (b" ", b"\t")), len(lines))
    return b"".join(lines[:end]).partition(b":")[2].strip()


def read_in_chunks(
    store: Store, message: Message, start: int = 0, length: int | None = None
) -> Iterator[bytes]:
    """A message's bytes from ``start``, never more than a chunk of them at once."""
    end = message.size if length is None else min(message.size, start + length)
    for begin in range(start, end, _CHUNK):
        yield store.read(replace(message, offset=message.offset + begin, size=min(_CHUNK, end - begin)))


def read_header(store: Store, message: Message) -> bytes:
    """The header block up to and with the empty line, without reading a large body."""
    found = b""
    for chunk in read_in_chunks(store, message):
        found += chunk
        if found.startswith(b"\r\n"):
            return found[:2]
        if (end := found.find(b"\r\n\r\n")) >= 0:
            return found[: end + 4]
    return found


def placeholder(protocol: str, store: Store, message: Message) -> bytes:
    """What Exchange sends for a message that it cannot convert."""
    header = read_header(store, message)
    told = {name: header_value(header, name.encode()) or b"" for name in ("Subject", "From", "Date")}
    received = message.received_at.astimezone(UTC)
    return b"\r\n".join(
        [
            b"From: Microsoft Exchange Server 2010",
            b"Subject: Retrieval using the %s protocol failed for the following message: %d"
            % (protocol.encode(), message.uid),
            f"Date: {received.day} {MONTHS[received.month - 1]} {received:%Y %H:%M:%S} +0000".encode(),
            b"MIME-Version: 1.0",
            b'Content-Type: text/plain; charset="us-ascii"',
            b"",
            b"The server couldn't retrieve the following message:",
            b"",
            b'Subject: "%s"' % told["Subject"],
            b'From: "%s"' % told["From"],
            b"Sent date: %s" % told["Date"],
            b"",
            b"The message hasn't been deleted. You may be able to read it in Outlook or on the web.",
            b"",
        ]
    )


def as_fault_shows(fault: Fault | None, protocol: str, store: Store, message: Message) -> bytes | None:
    """The bytes that a fault puts in the message's place; None to send the message."""
    if fault is None:
        return None
    if fault.kind is FaultKind.PLACEHOLDER:
        return placeholder(protocol, store, message)
    if fault.kind is FaultKind.TRUNCATE:
        return store.read(replace(message, size=min(message.size, fault.bytes)))
    return None
