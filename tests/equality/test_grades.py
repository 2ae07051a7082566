"""The judge of equality is itself judged: what it calls one message, and what it tells apart."""

from pathlib import Path

import pytest

from pipelines.mime import normalise
from tests.equality.__main__ import Findings, missed
from tests.equality.grades import Match, shared_keys
from tests.equality.letters import Letter, corpus
from tests.equality.standard import told_by_standard

HEAD = b"Message-ID: <1@x>\r\nDate: Mon, 1 Sep 2025 09:00:00 +0000\r\nFrom: Kim <kim@x>\r\n"
NAMELESS = HEAD.partition(b"\r\n")[2]
HTML = b'Content-Type: text/html; charset=utf-8\r\n\r\n<p>caf\xc3\xa9 <a href="https://a">link</a></p>'
PDF = b"--b\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\n%PDF\r\n"
MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nwords\r\n" + PDF + b"--b--\r\n"
FORWARD = b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + HEAD + b"Subject: inner\r\n\r\nwords\r\n"
FORWARDING = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + FORWARD + b"--b--\r\n"

ONE = [
    (HEAD + b"\r\nwords", b"Received: by y\r\n" + HEAD + b"To: lee@x\r\n\r\n words \r\n"),
    (HEAD + HTML, HEAD + HTML.replace(b"utf-8", b"iso-8859-1").replace("é".encode(), b"\xe9")),
    (HEAD + HTML, HEAD + HTML.replace(b"<p>", b"<!-- unseen --><meta charset=utf-8><p>")),
    (
        HEAD + b"\r\nwords",
        HEAD + b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nd29yZHM=",
    ),
    (HEAD + MIXED, HEAD + MIXED.replace(b"b\r\n", b"c\r\n").replace(b"--b--", b"--c--")),
    (HEAD + b"Subject: =?windows-874?Q?=A1?=\r\n\r\n", HEAD + b"Subject: =?tis-620?B?oQ==?=\r\n\r\n"),
    (b"Not a field\r\n" + NAMELESS + b"\r\nwords", NAMELESS + b"\r\nwords"),
]
OTHERS = [
    (HEAD + b"\r\nwords", HEAD.replace(b"1@x", b"2@x") + b"\r\nwords"),
    (HEAD + b"\r\nwords", HEAD.replace(b"09:00", b"09:01") + b"\r\nwords"),
    (HEAD + b"\r\nwords", HEAD.replace(b"kim@", b"lee@") + b"\r\nwords"),
    (HEAD + b"\r\nwords", HEAD + b"Subject: s\r\n\r\nwords"),
    (HEAD + b"\r\nwords", HEAD + b"\r\nother words"),
    (NAMELESS + b"\r\nwords", NAMELESS.replace(b"Kim", b"Lee") + b"\r\nwords"),
    (NAMELESS + b"\r\nwords", NAMELESS + b"Reply-To: lee@x\r\n\r\nwords"),
    (NAMELESS + b"\r\nwords", NAMELESS + b"In-Reply-To: <0@x>\r\n\r\nwords"),
    (HEAD + HTML, HEAD + HTML.replace(b"https://a", b"https://b")),
    (HEAD + HTML, HEAD + HTML.replace(b"<p>", b"<p><img src=cid:a>")),
    (HEAD + MIXED, HEAD + MIXED.replace(b"a.pdf", b"b.pdf")),
    (HEAD + MIXED, HEAD + MIXED.replace(b"%PDF", b"%pdf")),
    (HEAD + MIXED, HEAD + MIXED.replace(PDF, b"")),
    (HEAD + MIXED, HEAD + MIXED.replace(PDF, PDF + PDF)),
    (HEAD + FORWARDING, HEAD + FORWARDING.replace(b"inner", b"other")),
    (HEAD + FORWARDING, HEAD + FORWARDING.replace(b"words", b"other")),
]


@pytest.mark.parametrize(("one", "same"), ONE)
def test_the_judge_calls_one_what_a_reader_cannot_tell_apart(one: bytes, same: bytes) -> None:
    assert told_by_standard(one) == told_by_standard(same)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_the_judge_tells_apart_what_a_reader_can(one: bytes, other: bytes) -> None:
    assert told_by_standard(one) != told_by_standard(other)


def letters(*mimes: bytes, group: str | None = None) -> list[Letter]:
    return [Letter(str(number), mime, group or str(number)) for number, mime in enumerate(mimes)]


def test_what_the_corpus_calls_one_message_is_one() -> None:
    one, other = OTHERS[0]
    assert shared_keys([("key", each) for each in letters(one, other, group="copies")]) == []


def test_variants_are_one_message_through_each_other() -> None:
    one, same = ONE[0]
    found = [Letter("a", one, "1"), Letter("b", OTHERS[4][1], "2"), Letter("c", same, "2")]
    assert shared_keys([("key", each) for each in found]) == []


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_two_that_differ_under_one_key_miss_the_goal(one: bytes, other: bytes) -> None:
    findings = Findings()
    findings.matches[Match.CANONICAL] = 2
    findings.keyed = [("key", each) for each in letters(one, other)]
    assert missed(findings.result()) == ["one key for different messages: 0, 1"]
    findings.keyed = [(each.name, each) for each in letters(one, other)]
    assert missed(findings.result()) == []


@pytest.mark.corpus
def test_two_that_differ_never_share_a_key_in_the_whole_corpus(corpus_dir: Path) -> None:
    keyed = [(normalise(letter.mime).message_key, letter) for letter in corpus(corpus_dir)]
    assert [[each.name for each in letters] for letters in shared_keys(keyed)] == []
