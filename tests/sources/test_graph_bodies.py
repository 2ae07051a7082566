"""Messages out of Graph: whole ones, cut ones, lost ones, and those that Exchange cannot convert."""

from base64 import b64encode
from email.mime.text import MIMEText
from typing import Any

import pytest

from pipelines.errors import MailboxRefusedError, MailoverError, ThrottledError, TransientError
from pipelines.mime import identity_from_headers, normalise
from pipelines.sources import Entry, Fetched, FetchFailed, Folder, Role
from pipelines.sources.graph import GraphSource
from pipelines.sources.graph_bodies import is_complete
from pipelines.sources.graph_fallback import render
from pipelines.sources.graph_listing import entry
from tests.sources.conftest import WaitlessClock
from tests.sources.scripted_graph import INBOX_ID, Reply, ScriptedGraph, error, mail

INBOX = Folder("Inbox", Role.INBOX, INBOX_ID)
VALUE = r"/\$value$"
MULTIPART = (
    b"Subject: two parts\r\nMessage-ID: <m@contoso.com>\r\nContent-Type: multipart/mixed;\r\n"
    b' boundary="_000_m"\r\n\r\n--_000_m\r\nContent-Type: text/plain\r\n\r\nconfidential\r\n--_000_m\r\n'
    b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n--_000_m--\r\n"
)
PLACEHOLDER = (
    b"From: Microsoft Exchange Server 2010\r\n"
    b"Subject: Retrieval using the IMAP4 protocol failed for the following message: 5\r\n\r\n"
    b"The server couldn't retrieve the following message:\r\n\r\nSubject: lunch\r\n"
)


def read(source: GraphSource, native_ids: list[str]) -> tuple[list[bytes], dict[str, FetchFailed]]:
    """What came, and what failed by id; exactly one outcome for each."""
    outcomes = list(source.fetch(INBOX, [Entry(each) for each in native_ids]))
    assert sorted(each.entry.native_id for each in outcomes) == sorted(set(native_ids))
    failed = {each.entry.native_id: each for each in outcomes if isinstance(each, FetchFailed)}
    return sorted(each.mime for each in outcomes if isinstance(each, Fetched)), failed


def test_bytes_are_kept_as_graph_sends_them(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    odd = [
        b"\n\nno header at all \xff\x00",
        b"Subject: =?broken\r\n\r\n.\r\n..\r\n",
        MULTIPART,
        *map(mail, range(9)),
    ]
    native_ids = graph.add(*odd)
    assert read(graph_source, [*native_ids, native_ids[0]]) == (sorted(odd), {})
    asked = [each for each in graph.asked if each.url.endswith("$value")]
    assert all(each.headers["accept-encoding"] == "identity" for each in asked)
    assert all("mailFolders" not in each.url for each in asked)


@pytest.mark.parametrize(
    ("mime", "complete"),
    [
        (MULTIPART, True),
        (MULTIPART[:-2], True),
        (MULTIPART + b"an epilogue\r\n", True),
        (MULTIPART[:-8], False),
        (MULTIPART[:150], False),
        (MULTIPART[:90], False),
        (MULTIPART.replace(b"--_000_m--", b"--_000_m_inner--"), False),
        (MULTIPART.replace(b"\r\n", b"\n"), True),
        (MULTIPART.replace(b' boundary="_000_m"', b" charset=none"), True),
        (mail(1), True),
        (mail(1)[:60], False),
        (b"", False),
    ],
)
def test_a_message_is_whole_with_its_closing_boundary(mime: bytes, complete: bool) -> None:
    assert is_complete(mime) is complete


@pytest.mark.parametrize("ends", [0, 40, 150, 220])
def test_nothing_lost_when_a_download_ends_early_as_if_it_were_whole(
    graph: ScriptedGraph, graph_source: GraphSource, ends: int
) -> None:
    native_ids = graph.add(MULTIPART)
    graph.answer(VALUE, Reply(body=MULTIPART, ends=ends), times=2)
    assert read(graph_source, native_ids) == ([MULTIPART], {})


@pytest.mark.parametrize("cut", [0, 40, 220])
def test_nothing_lost_when_the_connection_breaks_in_a_message(
    graph: ScriptedGraph, graph_source: GraphSource, cut: int
) -> None:
    native_ids = graph.add(MULTIPART)
    graph.answer(VALUE, Reply(body=MULTIPART, cut=cut), times=3)
    assert read(graph_source, native_ids) == ([MULTIPART], {})


def test_a_message_that_always_ends_early_is_kept_beside(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    (native_id,) = graph.add(MULTIPART[:-12])
    others = graph.add(mail(1), mail(2))
    contents, failed = read(graph_source, [native_id, *others])
    assert contents == [mail(1), mail(2)]
    assert failed[native_id].reason == "truncated"
    assert (failed[native_id].fallback, failed[native_id].fidelity) == (MULTIPART[:-12], "truncated")


def test_a_message_without_content_is_not_taken_for_mail(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    (native_id,) = graph.add(b"")
    _contents, failed = read(graph_source, [native_id])
    assert (failed[native_id].reason, failed[native_id].fallback) == ("empty-answer", None)


def test_a_placeholder_is_not_taken_for_mail(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    (native_id,) = graph.add(PLACEHOLDER)
    _contents, failed = read(graph_source, [native_id])
    assert (failed[native_id].reason, failed[native_id].fallback) == ("placeholder", PLACEHOLDER)


def test_a_message_that_is_gone_is_looked_for_twice(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    native_ids = graph.add(mail(1))
    contents, failed = read(graph_source, ["gone=", *native_ids])
    assert contents == [mail(1)]
    assert failed["gone="].gone
    assert [each.split("?")[0] for each in graph.urls("gone=")] == [
        "/messages/gone=/$value",
        "/messages/gone=",
    ]


def test_nothing_lost_when_a_404_is_a_mistake(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    native_ids = graph.add(mail(1))
    graph.answer(VALUE, error(404, "ErrorItemNotFound"))
    assert read(graph_source, native_ids) == ([mail(1)], {})


def test_a_listed_message_whose_content_is_not_found_is_no_lost_one(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    (native_id,) = graph.add(mail(1))
    graph.answer(VALUE, error(404, "ErrorItemNotFound"), times=99)
    _contents, failed = read(graph_source, [native_id])
    assert (failed[native_id].reason, failed[native_id].gone) == ("refused", False)


PERSON = {"emailAddress": {"name": "Zoë Müller", "address": "zoe@contoso.com"}}
WHOLE: dict[str, Any] = {
    "subject": "Größe\r\nBcc: injected@evil.example",
    "body": {"contentType": "html", "content": "<p>confidential</p>"},
    "from": PERSON,
    "ccRecipients": [PERSON, {"emailAddress": {"name": "EX", "address": "/O=EXCHANGELABS/CN=X"}}],
    "internetMessageHeaders": [
        {"name": "References", "value": "<a@b>\r\n <c@d>"},
        {"name": "Content-Type", "value": "text/broken"},
    ],
}
ATTACHMENTS: list[dict[str, Any]] = [
    {
        "@odata.type": "#microsoft.graph.fileAttachment",
        "id": "1=",
        "name": "Übersicht.pdf",
        "contentType": "application/pdf",
        "contentBytes": b64encode(b"%PDF content").decode(),
    },
    {
        "@odata.type": "#microsoft.graph.fileAttachment",
        "id": "2=",
        "name": "logo.png",
        "contentType": "image/png",
        "contentId": "logo@contoso",
        "isInline": True,
        "contentBytes": b64encode(b"PNG content").decode(),
    },
    {"@odata.type": "#microsoft.graph.fileAttachment", "id": "3=", "name": "large", "contentType": "x"},
    {"@odata.type": "#microsoft.graph.itemAttachment", "id": "4=", "name": "Forwarded"},
    {"@odata.type": "#microsoft.graph.itemAttachment", "id": "5=", "name": "Meeting"},
    {"@odata.type": "#microsoft.graph.referenceAttachment", "id": "6=", "name": "shared.xlsx"},
]


@pytest.mark.parametrize(
    "code",
    [
        "ErrorMimeContentConversionFailed",
        "ErrorContentConversionFailed",
        "ErrorMimeContentInvalid",
        "ErrorUnsupportedMimeConversion",
    ],
)
def test_what_exchange_cannot_convert_is_kept_in_another_form(
    graph: ScriptedGraph, graph_source: GraphSource, code: str
) -> None:
    (native_id,) = graph.add(mail(1), **WHOLE)
    others = graph.add(mail(2))
    graph.attachments[native_id] = ATTACHMENTS
    graph.answer(f"{native_id}{VALUE}", error(500, code), times=99)
    graph.answer(r"attachments/3=/\$value", Reply(body=b"large content"))
    graph.answer(r"attachments/4=/\$value", Reply(body=mail(9)))
    graph.answer(r"attachments/5=/\$value", Reply(body=b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"))
    contents, failed = read(graph_source, [native_id, *others])
    assert contents == [mail(2)]
    kept = failed[native_id]
    assert (kept.reason, kept.fidelity, kept.gone) == ("conversion-failed", "graph-json", False)
    assert kept.fallback
    record = normalise(kept.fallback)
    assert record.subject == "Größe Bcc: injected@evil.example"
    assert record.bcc == ()
    assert [(each.name, each.address) for each in record.from_] == [("Zoë Müller", "zoe@contoso.com")]
    assert [each.name for each in record.cc] == ["Zoë Müller", "EX"]
    assert record.references == ("a@b", "c@d")
    assert record.html == "<p>confidential</p>"
    assert "shared.xlsx" in (record.text or "")
    assert [(each.name, each.media_type, each.inline) for each in record.attachments] == [
        ("Übersicht.pdf", "application/pdf", False),
        ("logo.png", "image/png", True),
        ("large", "application/octet-stream", False),
        (None, "message/rfc822", False),
        ("Meeting", "text/calendar", False),
    ]
    assert identity_from_headers(kept.fallback).message_id == "1@contoso.com"


@pytest.mark.parametrize("code", ["ErrorItemCorrupt", "ErrorCorruptData", "ErrorInvalidRecipients"])
def test_of_a_corrupt_message_what_can_be_read_without_its_body_is_kept(
    graph: ScriptedGraph, graph_source: GraphSource, code: str
) -> None:
    (native_id,) = graph.add(mail(1), **WHOLE)
    graph.answer(f"{VALUE}|body", error(500, code), times=99)
    _contents, failed = read(graph_source, [native_id])
    kept = failed[native_id]
    assert (kept.reason, kept.fidelity) == ("item-corrupt", "graph-json-without-body")
    assert kept.fallback
    assert normalise(kept.fallback).html is None
    assert not any("body" in each for each in graph.urls("GET /messages/"))


def test_a_cloud_without_internet_headers_gives_the_rest(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    (native_id,) = graph.add(mail(1), **WHOLE)
    graph.answer(VALUE, error(500, "ErrorMimeContentConversionFailed"))
    graph.answer("internetMessageHeaders", error(400, "BadRequest"))
    _contents, failed = read(graph_source, [native_id])
    assert failed[native_id].fidelity == "graph-json"


def test_a_message_that_is_readable_in_no_form_is_parked_without_one(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    (native_id,) = graph.add(mail(1))
    graph.answer("GET /messages/", error(500, "ErrorItemCorrupt"), times=99)
    _contents, failed = read(graph_source, [native_id])
    assert (failed[native_id].reason, failed[native_id].fallback) == ("item-corrupt", None)


def test_attachments_that_cannot_be_had_are_noted(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    (native_id,) = graph.add(mail(1), **WHOLE)
    graph.answer(VALUE, error(500, "ErrorMimeContentConversionFailed"))
    graph.answer("attachments", error(500, "ErrorItemCorrupt"), times=99)
    _contents, failed = read(graph_source, [native_id])
    assert failed[native_id].fallback
    assert "attachments" in (normalise(failed[native_id].fallback or b"").text or "")


def test_a_fallback_names_the_message_as_its_listing_does(graph: ScriptedGraph) -> None:
    (native_id,) = graph.add(mail(7))
    item = graph.messages[INBOX_ID][native_id]
    assert identity_from_headers(render(item, [])) == entry(item).identity


def test_a_fallback_is_written_alike_each_time(graph: ScriptedGraph) -> None:
    (native_id,) = graph.add(mail(7))
    item = graph.messages[INBOX_ID][native_id]
    assert render(item, [MIMEText("the body")]) == render(item, [MIMEText("the body")])


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"subject": None, "from": None, "toRecipients": None, "internetMessageHeaders": None},
        {"subject": "half \ud83d", "from": {"emailAddress": {"name": "\x00\x07", "address": "@"}}},
        {"subject": "x" * 3000, "internetMessageId": "<" + "y" * 1200 + ">"},
    ],
)
def test_any_properties_can_be_written_as_mime(item: dict[str, Any]) -> None:
    assert is_complete(render(item, []))


def test_failure_is_contained_when_one_message_never_comes(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    native_ids = graph.add(*map(mail, range(6)))
    graph.answer(f"{native_ids[2]}{VALUE}", error(500, "ErrorTimeoutExpired"), times=99)
    contents, failed = read(graph_source, native_ids)
    assert len(contents) == 5
    assert failed[native_ids[2]].reason == "refused"


def test_failure_is_contained_when_an_id_is_malformed(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    native_ids = graph.add(*map(mail, range(6)))
    graph.answer(f"{native_ids[2]}{VALUE}", error(400, "ErrorInvalidIdMalformed"), times=99)
    contents, failed = read(graph_source, native_ids)
    assert len(contents) == 5
    assert failed[native_ids[2]].reason == "refused"


@pytest.mark.parametrize("reply", [Reply(503), error(400, "BadRequest")], ids=["503", "400"])
def test_a_server_that_gives_nothing_is_not_blamed_on_its_messages(
    graph: ScriptedGraph, graph_source: GraphSource, reply: Reply
) -> None:
    native_ids = graph.add(*map(mail, range(9)))
    graph.answer(VALUE, reply, times=999)
    outcomes = graph_source.fetch(INBOX, [Entry(each) for each in native_ids])
    assert [isinstance(next(outcomes), FetchFailed) for _ in range(2)] == [True, True]
    with pytest.raises(MailoverError, match=r"HTTP 503|BadRequest"):
        next(outcomes)


def test_a_server_that_is_away_fails_the_round_and_no_message(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    native_ids = graph.add(*map(mail, range(3)))
    graph.answer("GET", Reply(503), times=999)
    with pytest.raises(TransientError):
        read(graph_source, native_ids)


def test_throttling_for_hours_fails_the_round_and_no_message(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    native_ids = graph.add(*map(mail, range(3)))
    graph.answer(VALUE, error(429, "ApplicationThrottled", Retry_After="3600"), times=999)
    with pytest.raises(ThrottledError) as caught:
        read(graph_source, native_ids)
    assert caught.value.retry_after == 3600


def test_a_right_that_is_taken_away_in_the_middle_ends_the_round(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    native_ids = graph.add(*map(mail, range(9)))
    graph.answer(f"{native_ids[5]}{VALUE}", error(403, "ErrorAccessDenied"), times=999)
    with pytest.raises(MailboxRefusedError, match=r"Mail\.Read"):
        read(graph_source, native_ids)


def test_nothing_lost_among_many_faults_of_every_kind(
    graph: ScriptedGraph, graph_source: GraphSource, clock: WaitlessClock
) -> None:
    mails = [mail(number) for number in range(60)]
    native_ids = graph.add(*mails)
    faults = [
        Reply(503),
        error(429, "ApplicationThrottled", Retry_After="7"),
        Reply(body=mails[0], cut=9),
        Reply(body=mails[0], ends=20),
        error(401, "InvalidAuthenticationToken"),
        Reply(404),
    ]
    for number, native_id in enumerate(native_ids):
        graph.answer(f"{native_id}{VALUE}", faults[number % len(faults)])
    assert read(graph_source, native_ids) == (sorted(mails), {})
    assert 7 in [round(each) for each in clock.waits]


def test_secrets_stay_secret_when_messages_fail(
    graph: ScriptedGraph, graph_source: GraphSource, all_logs: pytest.LogCaptureFixture
) -> None:
    native_ids = graph.add(MULTIPART[:-12], mail(2), mail(3), **WHOLE)
    graph.answer(f"{native_ids[1]}{VALUE}", error(500, "ErrorItemCorrupt"), times=99)
    graph.answer(f"{native_ids[2]}{VALUE}", Reply(503), times=99)
    _contents, failed = read(graph_source, native_ids)
    told = "".join(f"{each.reason}{each.detail}" for each in failed.values())
    assert len(failed) == 3
    for kept in ("confidential", "graph-token"):
        assert kept not in told + all_logs.text
