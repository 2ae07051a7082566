"""Real mail and torture cases from outside the project."""

import csv
import email
import email.policy
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pipelines.mime import Record, normalise, plain_text

pytestmark = pytest.mark.corpus


class Case:
    """A file of one message, with what the corpus says of it."""

    def __init__(self, root: Path, row: dict[str, str]) -> None:
        self.path = row["path"]
        self.group = row["group"]
        self.tags = {tag.split("|")[0].strip() for tag in row["exercises"].split(",")}
        self.mime = (root / row["path"]).read_bytes()
        self.record = normalise(self.mime)


@pytest.fixture(scope="module")
def rows(corpus_dir: Path) -> list[dict[str, str]]:
    with (corpus_dir / "MANIFEST.tsv").open(newline="") as manifest:
        return list(csv.DictReader(manifest, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def cases(corpus_dir: Path, rows: list[dict[str, str]]) -> list[Case]:
    whole = [row for row in rows if not row["path"].endswith(".mbox") and not row["category"].endswith("raw")]
    return [Case(corpus_dir, row) for row in whole if row["messages"] == "1"]


def test_any_file_at_all_is_read(corpus_dir: Path, rows: list[dict[str, str]]) -> None:
    for row in rows:
        mime = (corpus_dir / row["path"]).read_bytes()
        record = normalise(mime)
        assert record.size == len(mime)
        repr(record).encode()
        plain_text(record).encode()


def media_types(record: Record) -> set[str]:
    return {one.media_type for one in record.attachments}


def noted(*defects: str) -> Callable[[Record], bool]:
    return lambda record: not record.headers or bool(set(defects) & set(record.defects))


def holds(media_type: str) -> Callable[[Record], bool]:
    return lambda record: media_type in media_types(record)


ALWAYS: dict[str, Callable[[Record], bool]] = {
    "no-message-id": lambda record: record.message_id is None,
    "no-date": lambda record: record.sent_at is None,
    # "From :" is a field of RFC 5322, 4.5; the manifest does not count it.
    "no-from": lambda record: not record.from_ or b"From:" not in record.headers,
    "no-subject": lambda record: not record.subject,
    "no-recipient": lambda record: not (record.to or record.cc or record.bcc),
    "non-header-line": noted("header-junk", "header-end-missing", "mbox-from-line"),
    "utf8-header": lambda record: "header-8bit" not in record.defects,
    "calendar": lambda record: record.meeting is not None,
    "arf": holds("message/feedback-report"),
    "partial": holds("message/partial"),
    "dup-date": noted("header-repeated"),
    "dup-subject": noted("header-repeated"),
    "dup-message-id": noted("header-repeated"),
    "deep(51)": noted("nested-too-deep"),
    "deep(601)": noted("nested-too-deep"),
    "BOM": noted("byte-order-mark", "mbox-from-line"),
}
"""What a tag of the corpus promises for every message that carries it."""

NEARLY: dict[str, Callable[[Record], bool]] = {
    "dsn": lambda record: bool(record.bounce),
    "rfc822": holds("message/rfc822"),
    "pgp-signed": holds("application/pgp-signature"),
    "smime-signed": lambda record: any("pkcs7" in one for one in media_types(record)),
    "no-final-boundary": noted("boundary-not-closed"),
    "8bit-no-charset": noted("charset-missing", "header-8bit"),
    "8bit-header": noted("header-8bit"),
    "rfc2047": lambda record: "=?" not in record.subject,
}
"""Tags found by searching the file's bytes: they also meet mail that quotes, attaches or cuts the thing."""


def test_each_torture_case_gives_what_it_exercises(cases: list[Case]) -> None:
    wrong = [
        (tag, case.path)
        for case in cases
        for tag in case.tags & ALWAYS.keys()
        if not ALWAYS[tag](case.record)
    ]
    assert wrong == []
    seen = Counter(tag for case in cases for tag in case.tags)
    assert all(seen[tag] for tag in ALWAYS)


@pytest.mark.parametrize("tag", NEARLY)
def test_a_searched_tag_is_met_nine_times_in_ten(cases: list[Case], tag: str) -> None:
    tagged = [case for case in cases if tag in case.tags]
    met = [case for case in tagged if NEARLY[tag](case.record)]
    assert len(met) >= 0.9 * len(tagged) > 0


def folded(text: object) -> str:
    return " ".join(str(text).split())


def stdlib_fields(mime: bytes) -> dict[str, object]:
    """What the standard library says, field by field, where it says anything without raising."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = email.message_from_bytes(mime, policy=email.policy.default)

    def body(kind: str) -> str:
        part = message.get_body((kind,))
        if part is None:
            raise LookupError(kind)
        return folded(part.get_content())

    readers: dict[str, Callable[[], object]] = {
        "subject": lambda: folded(message["subject"] or ""),
        "to": lambda: [one.addr_spec for field in message.get_all("to", []) for one in field.addresses],
        "from": lambda: [one.addr_spec for field in message.get_all("from", []) for one in field.addresses][
            :1
        ],
        "date": lambda: message["date"].datetime.timestamp() if message["date"] else None,
        "message_id": lambda: folded(message["message-id"] or "").strip("<> "),
        "text": lambda: body("plain"),
        "html": lambda: body("html"),
    }
    found = {}
    for name, read in readers.items():
        try:
            found[name] = read()
        except Exception:  # noqa: BLE001, S112 - the standard library raises on real mail; nothing to compare then
            continue
    return found


def same(name: str, record: Record, theirs: object) -> bool:
    if name in ("text", "html"):  # theirs is the first such part; ours goes on with its siblings
        return folded(record.text if name == "text" else record.html).startswith(str(theirs))
    ours: dict[str, object] = {
        "subject": folded(record.subject),
        "to": [one.address for one in record.to],
        "from": [one.address for one in record.from_][:1],
        "date": record.sent_at.timestamp() if record.sent_at else None,
        "message_id": record.message_id or "",
    }
    return ours[name] == theirs


def test_fidelity_to_the_standard_library(
    cases: list[Case], record_property: Callable[[str, object], None]
) -> None:
    compared: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    for case in cases[::4]:
        for name, theirs in stdlib_fields(case.mime).items():
            compared[name] += 1
            agreed[name] += same(name, case.record, theirs)
    rates = {name: agreed[name] / compared[name] for name in compared}
    for name, rate in rates.items():
        record_property(f"fidelity_{name}", round(rate, 4))
    # The rest is where the standard library is wrong: raw 8-bit headers, broken charsets, odd addresses.
    floor = {"text": 0.95, "html": 0.95}
    assert {name: rate for name, rate in rates.items() if rate < floor.get(name, 0.98)} == {}


def test_nothing_twice_letters_of_one_text_share_a_key(cases: list[Case]) -> None:
    """One letter in every charset and transfer encoding: the corpus's own regenerated mail."""
    keys: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        if match := re.fullmatch(
            r"letters/test_thai_plaintext_(tis-620|windows-874|iso-8859-11)_over_.*", case.path
        ):
            keys[match[1]].add(case.record.message_key)
    assert len(keys) == 3
    assert len(set.intersection(*keys.values())) >= 1


def differing(records: Iterable[Record]) -> set[tuple[object, ...]]:
    """What a person would compare; more than one: two messages under one key."""
    return {
        (
            record.message_id,
            record.sent_at,
            folded(record.subject),
            folded(record.text or ""),
            len(record.attachments),
        )
        for record in records
    }


def test_two_that_differ_never_share_a_key(cases: list[Case]) -> None:
    by_key: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_key[case.record.message_key].append(case)
    merged = [
        [case.path for case in found]
        for found in by_key.values()
        if len(differing(case.record for case in found)) > 1
    ]
    assert merged == []
