"""Mailover's normaliser side by side with the standard library's ``email``: speed and memory.

    python -m benchmarks.mime                    business-like and small mail, made here
    python -m benchmarks.mime --mail DIR         the .eml files under DIR as a third set

Both readers produce the same fields of every message and the SHA-256 of every attachment; only
Mailover also derives the message key. Rounds alternate; the figures are medians of CPU time.
"""

import argparse
import base64
import email
import email.policy
import hashlib
import itertools
import json
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

from pipelines.mime import normalise
from pipelines.mime.params import parse_value


def _vocabulary(size: int) -> tuple[list[str], list[float]]:
    """Made-up words, and how often each is used: like a language's, a few often and most hardly ever."""
    rng = random.Random(1)
    sounds = [first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "ü", "東")]
    words = list({"".join(rng.choices(sounds, k=rng.randrange(1, 5))): None for _ in range(size)})
    return words, list(itertools.accumulate(1 / (rank + 2.7) for rank in range(len(words))))


WORDS, WEIGHTS = _vocabulary(60_000)

ADDRESS_FIELDS = ("from", "sender", "reply-to", "to", "cc", "bcc")
TEXT_FIELDS = ("message-id", "subject", "in-reply-to", "references", "list-id", "auto-submitted")


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, cum_weights=WEIGHTS, k=words))


def token(rng: random.Random, length: int) -> str:
    return base64.b64encode(rng.randbytes(length)).decode()


def fold(name: str, value: str) -> str:
    lines, line = [], f"{name}:"
    for word in value.split():
        if len(line) + len(word) > 76:
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line]) + "\r\n"


def exchange_headers(rng: random.Random) -> str:
    """What Exchange Online adds to a received message, about 8 KB."""
    host = f"AM{rng.randrange(10)}PR04MB{rng.randrange(10000)}.eurprd04.prod.outlook.com"
    received = "".join(
        fold("Received", f"from {host} (2603:10a6:20b:{rng.randrange(999)}::{hop}) by {host} with HTTPS; "
             f"Mon, 1 Sep 2025 08:{hop:02}:11 +0000") for hop in range(5)
    )  # fmt: skip
    blob = "".join(f"\r\n {token(rng, 54)}" for _ in range(30))
    seal = "".join(f"\r\n {token(rng, 54)}" for _ in range(6))
    report = ";".join(f"BCL:0;ARA:{rng.randrange(10**14)}|{rng.randrange(10**9)}" for _ in range(12))
    return (
        received
        + f"ARC-Seal: i=1; a=rsa-sha256; s=arcselector10001; d=microsoft.com; cv=none;{seal}\r\n"
        + f"ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=microsoft.com;{seal}\r\n"
        + f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=contoso.com; s=selector1;{seal}\r\n"
        + fold("Authentication-Results", "spf=pass (sender IP is 40.107.1.1) smtp.mailfrom=contoso.com; "
               "dkim=pass (signature was verified) header.d=contoso.com; dmarc=pass action=none")
        + "X-MS-Exchange-Organization-SCL: 1\r\nX-MS-Exchange-Organization-AuthAs: Internal\r\n"
        + f"X-MS-Exchange-Organization-Network-Message-Id: {rng.randbytes(16).hex()}\r\n"
        + fold("X-Microsoft-Antispam", report.replace(";", "; "))
        + f"X-Microsoft-Antispam-Message-Info:\r\n =?us-ascii?Q?{token(rng, 40).replace('=', '')}?={blob}\r\n"
        + f"X-MS-Exchange-AntiSpam-MessageData-0:{blob}\r\n"
    )  # fmt: skip


def envelope(rng: random.Random, number: int) -> str:
    subject = base64.b64encode(sentence(rng, 7).encode()).decode()
    recipients = ",\r\n\t".join(f'"Akers, Kim {n}" <kim{n}@contoso.com>' for n in range(rng.randrange(1, 6)))
    return (
        f"From: =?UTF-8?B?{base64.b64encode('Jörg Weiß'.encode()).decode()}?= <joerg@fabrikam.example>\r\n"
        f"To: {recipients}\r\nSubject: =?UTF-8?B?{subject}?=\r\n"
        f"Date: Mon, {1 + number % 28} Sep 2025 10:{number % 60:02}:00 +0200\r\n"
        f"Message-ID: <{number}.{rng.randrange(10**9)}@fabrikam.example>\r\n"
        f"References: <a{number}@fabrikam.example>\r\n <b{number}@fabrikam.example>\r\n"
        f"In-Reply-To: <b{number}@fabrikam.example>\r\nMIME-Version: 1.0\r\n"
    )


def part(content: bytes, content_type: str, extra: str = "") -> str:
    encoded = base64.encodebytes(content).decode().replace("\n", "\r\n")
    return f"Content-Type: {content_type}\r\n{extra}Content-Transfer-Encoding: base64\r\n\r\n{encoded}"


def alternative(rng: random.Random, words: int) -> tuple[str, str]:
    paragraphs = [sentence(rng, 40) for _ in range(max(1, words // 40))]
    markup = "".join(
        f'<p class="MsoNormal"><span lang="EN-GB">{one}</span><o:p></o:p></p>\r\n' for one in paragraphs
    )
    page = f"<html><head><style><!-- p {{margin:0cm}} --></style></head><body>{markup}</body></html>"
    bound = f"_000_{rng.randbytes(12).hex()}_"
    text = "\r\n".join(paragraphs).encode()
    return bound, "\r\n".join(
        [
            f"--{bound}", part(text, 'text/plain; charset="utf-8"'),
            f"--{bound}", part(page.encode(), 'text/html; charset="utf-8"'), f"--{bound}--", "",
        ]
    )  # fmt: skip


def business_mail(number: int) -> bytes:
    """Text, HTML and in two of five an attachment: 82 KB in the mean."""
    rng = random.Random(number)
    bound, bodies = alternative(rng, rng.choice((80, 200, 400, 800)))
    head = exchange_headers(rng) + envelope(rng, number)
    if number % 5 not in (0, 2):
        return f'{head}Content-Type: multipart/alternative; boundary="{bound}"\r\n\r\n{bodies}'.encode()
    outer = f"_004_{rng.randbytes(12).hex()}_"
    name = f'Content-Disposition: attachment; filename="report {number}.pdf"\r\n'
    attached = part(rng.randbytes(rng.choice((20_000, 60_000, 150_000, 230_000))), "application/pdf", name)
    return (
        f'{head}Content-Type: multipart/mixed; boundary="{outer}"\r\n\r\n--{outer}\r\n'
        f'Content-Type: multipart/alternative; boundary="{bound}"\r\n\r\n{bodies}\r\n'
        f"--{outer}\r\n{attached}\r\n--{outer}--\r\n"
    ).encode()


def small_mail(number: int) -> bytes:
    """A plain-text note of about 3.5 KB, as lists and machines send them."""
    rng = random.Random(number)
    received = "".join(
        fold("Received", f"from mx{n}.example.net (mx{n}.example.net [192.0.2.{n}]) by mail.example.org "
             f"with ESMTPS id {rng.randbytes(5).hex()}; Mon, 1 Sep 2025 10:00:{n:02} +0000") for n in range(4)
    )  # fmt: skip
    lists = "List-Id: Users <users.example.org>\r\nList-Unsubscribe: <mailto:leave@example.org>\r\n"
    text = "\r\n".join(sentence(rng, 10) for _ in range(28)) + "\r\n"
    body = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}"
    return f"{received}{envelope(rng, number)}{lists}{body}".encode()


def standard_library(mime: bytes, *, every_header: bool = False) -> object:
    """The record's fields with ``email.policy.default``; failures are counted as empty fields."""
    message = email.message_from_bytes(mime, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    if every_header:
        [str(value) for value in message.values()]
    addresses = [
        [
            (one.display_name, one.addr_spec)
            for header in message.get_all(name, [])
            for one in header.addresses
        ]
        for name in ADDRESS_FIELDS
    ]
    texts = [str(message[name]) for name in TEXT_FIELDS]
    date = parsedate_to_datetime(str(message["date"])) if message["date"] else None
    results = [str(value) for value in message.get_all("authentication-results", [])]
    bodies, attachments = [], []
    for leaf in message.walk():
        if leaf.is_multipart():
            continue
        kind = leaf.get_content_type()
        if kind in ("text/plain", "text/html") and not leaf.is_attachment():
            bodies.append(leaf.get_content())
        else:
            content = leaf.get_payload(decode=True) or b""
            assert isinstance(content, bytes)
            attachments.append(
                (
                    leaf.get_filename(),
                    kind,
                    len(content),
                    hashlib.sha256(content).hexdigest(),
                    leaf["content-id"],
                )
            )
    return addresses, texts, date, results, bodies, attachments, hashlib.sha256(mime).hexdigest()


def every_header(mime: bytes) -> object:
    return standard_library(mime, every_header=True)


def tolerant(read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """The standard library raises on some real mail; the race goes on."""

    def attempt(mime: bytes) -> object:
        try:
            return read(mime)
        except Exception:  # noqa: BLE001 - any exception is the measured behaviour
            return None

    return attempt


def cpu_seconds(read: Callable[[bytes], object], mails: Sequence[bytes]) -> float:
    parse_value.cache_clear()  # boundaries seen in an earlier round are no help in life
    start = time.process_time()
    for mime in mails:
        read(mime)
    return time.process_time() - start


def peak_bytes(read: Callable[[bytes], object], mails: Sequence[bytes]) -> int:
    tracemalloc.start()
    for mime in mails:
        read(mime)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


READERS: dict[str, Callable[[bytes], object]] = {
    "mailover": normalise,
    "email, same fields": tolerant(standard_library),
    "email, every header": tolerant(every_header),
}


def timed(mails: Sequence[bytes], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each reader in each round."""
    times: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(rounds):
        for name, read in READERS.items():
            times[name].append(cpu_seconds(read, mails))
    return times


def ratios(times: dict[str, list[float]], name: str) -> list[float]:
    """A reader's time to Mailover's, round by round."""
    return [theirs / ours for theirs, ours in zip(times[name], times["mailover"], strict=True)]


def race(mails: Sequence[bytes], rounds: int) -> dict[str, dict[str, float]]:
    times, total = timed(mails, rounds), sum(map(len, mails))
    result = {}
    for name, read in READERS.items():
        median = statistics.median(times[name])
        result[name] = {
            "us_per_message": median / len(mails) * 1e6,
            "mb_per_s": total / median / 1e6,
            "ratio": statistics.median(ratios(times, name)),
            "peak_mb": peak_bytes(read, mails[:100]) / 1e6,
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200, help="messages in each set (default 200)")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    parser.add_argument("--mail", type=Path, help="a folder of .eml files to read as well")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    sets = {
        "business": [business_mail(number) for number in range(options.count)],
        "small": [small_mail(number) for number in range(options.count)],
    }
    if options.mail is not None:
        sets["mail"] = [path.read_bytes() for path in sorted(options.mail.rglob("*.eml"))]
        if not sets["mail"]:
            parser.error(f"no .eml files under {options.mail}")
    figures = {name: race(mails, options.rounds) for name, mails in sets.items()}
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, mails in sets.items():
        mean = sum(map(len, mails)) / len(mails) / 1000
        print(f"{name}: {len(mails)} messages, {mean:.1f} KB in the mean")
        for reader, row in figures[name].items():
            print(
                f"  {reader:20} {row['us_per_message']:9.1f} us  {row['mb_per_s']:7.1f} MB/s"
                f"  x{row['ratio']:6.1f}  peak {row['peak_mb']:6.2f} MB"
            )


if __name__ == "__main__":
    main()
