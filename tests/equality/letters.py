"""The mail that every protocol is asked for: generated, and the corpus of real mail."""

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.sandbox.mailgen import generate
from pipelines.sandbox.store import as_crlf
from pipelines.sources.archive_files import MailFiles

_PER_SET = 3
"""Messages of each set of the corpus that are in the sample."""
_SMALL = 200_000
"""Bytes; the sample has no larger message."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as it is delivered, with CRLF."""

    name: str
    """The file it comes from."""
    mime: bytes
    group: str
    """Copies and variants of one message have the same; others may be the same message as well."""


def generated(count: int) -> list[Letter]:
    """Business mail of all kinds, no two alike."""
    return [
        Letter(f"generated {number}", as_crlf(each.mime), str(number))
        for number, each in enumerate(generate("kim.akers@contoso.com", count))
    ]


def corpus(root: Path) -> list[Letter]:
    """Every message of the corpus, those in mbox files one by one."""
    with (root / "MANIFEST.tsv").open(newline="") as manifest:
        told = {row["path"]: row for row in csv.DictReader(manifest, delimiter="\t", quoting=csv.QUOTE_NONE)}
    files = MailFiles([root], by_name=True)
    found = []
    for place in files.places:
        for number, (where, letter) in enumerate(files.messages(place)):
            path = where.path.relative_to(root.resolve()).as_posix()
            row = told[path]
            group = row["group"] if row["messages"] == "1" else f"{row['group']} {number}"
            found.append(Letter(path, as_crlf(letter.mime), group))
    assert not files.unreadable
    return found


def sample(letters: list[Letter]) -> list[Letter]:
    """A few messages of each set, always the same, each content once."""
    taken: Counter[str] = Counter()
    chosen: dict[bytes, Letter] = {}
    for letter in sorted(letters, key=lambda each: hashlib.sha256(each.mime).digest()):
        of_set = letter.name.partition("/")[0]
        if taken[of_set] < _PER_SET and len(letter.mime) < _SMALL and letter.mime not in chosen:
            taken[of_set] += 1
            chosen[letter.mime] = letter
    return list(chosen.values())


def received(number: int) -> datetime:
    """When the letter of that number came: a minute after the one before it."""
    return datetime.fromtimestamp(1_700_000_000 + 60 * number, UTC)
