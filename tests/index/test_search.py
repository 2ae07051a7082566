"""The query language over a small lake."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.index import fulltext
from pipelines.index.search import search
from pipelines.ingest.passes import ingest_mailbox
from tests.index_fixture import database
from tests.ingest.model import ALEX, KIM, ModelFolder, ModelMailbox, ModelWorkspace, VirtualClock, configure


def letter(number: int, subject: str, body: str, sender: str, extra: str = "") -> bytes:
    return (
        f"Message-ID: <{number}@contoso.com>\r\nDate: Mon, {number} Mar 2025 08:00:00 +0000\r\n"
        f"From: {sender}\r\nTo: Kim <{KIM}>\r\nSubject: {subject}\r\n{extra}\r\n{body}\r\n"
    ).encode()


WITH_PDF = (
    'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nSee the offer.\r\n'
    '--b\r\nContent-Type: application/pdf; name="Angebot.pdf"\r\n'
    'Content-Disposition: attachment; filename="Angebot.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    "JVBERi0=\r\n--b--"
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def workspace(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModelWorkspace]:
    kim, alex = ModelMailbox(), ModelMailbox()
    kim.folders["Projekte/Köln"] = ModelFolder()

    def deliver(folder: ModelFolder, day: int, *parts: str) -> None:
        folder.deliver(letter(day, *parts), datetime(2025, 3, day, 8, tzinfo=UTC))

    deliver(kim.inbox, 3, "Budget", "The quarterly figures look good.", "Megan <megan@contoso.com>")
    deliver(kim.inbox, 4, "Re: Budget", "Figures, quarterly? Not yet.", "Lee <lee@fabrikam.com>")
    deliver(kim.folders["Projekte/Köln"], 5, "Angebot", "", "Zoë <zoe@köln.example>", WITH_PDF)
    deliver(alex.inbox, 6, "Überraschung", "http://intranet/plan", "Megan <megan@contoso.com>")
    folder: Path = tmp_path_factory.mktemp("search")
    with database(request, request.param):
        opened = ModelWorkspace(configure(folder, KIM, ALEX), {KIM: kim, ALEX: alex}, VirtualClock())
        for mailbox in opened.config.mailboxes:
            ingest_mailbox(opened, mailbox)
        yield opened
        opened.close()


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ("quarterly figures", ["Re: Budget", "Budget"]),
        ('"quarterly figures"', ["Budget"]),
        ("quart*", ["Re: Budget", "Budget"]),
        ("budget -from:megan", ["Re: Budget"]),
        ("from:megan@contoso.com", ["Überraschung", "Budget"]),
        ("to:kim", ["Überraschung", "Angebot", "Re: Budget", "Budget"]),
        ("subject:uberraschung", ["Überraschung"]),
        ("has:attachment", ["Angebot"]),
        ("-has:attachment subject:angebot", []),
        ("filename:angebot", ["Angebot"]),
        ("body:offer", ["Angebot"]),
        ("before:2025-03-04", ["Budget"]),
        ("after:2025 mailbox:alex.wilber@contoso.com", ["Überraschung"]),
        ("in:inbox from:lee", ["Re: Budget"]),
        ("in:projekte", ["Angebot"]),
        ("id:<3@contoso.com>", ["Budget"]),
        ("http://intranet/plan", ["Überraschung"]),
        ("zoe", ["Angebot"]),
        ("it's", []),
        ('5" OR figures', []),
        ("___", []),
        ("'figures' !look (goo):*", ["Budget"]),
        ("subject:___*", []),
        ("megan@con*", ["Überraschung", "Budget"]),
        ("body:figures subject:re", ["Re: Budget"]),
        ("-quarterly to:kim", ["Überraschung", "Angebot"]),
    ],
)
def test_a_query_finds(workspace: ModelWorkspace, query: str, subjects: list[str]) -> None:
    assert [hit.subject for hit in search(workspace.index, query, 10)] == subjects


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "the query is empty"),
        ("form:megan", "there is no field form: to search in\n  → did you mean from:?"),
        ("before:2025-02-31", "'2025-02-31' is not a date\n  → write 2026, 2026-11 or 2026-11-30 (UTC)"),
        ("has:pony", "has:pony is not known\n  → has:attachment is"),
        ("from:", "from: has no value\n  → write from:VALUE without a space"),
        ("...", "'...' holds no letter or digit to search for"),
    ],
)
def test_bad_input_gets_a_clear_error_from_a_query(workspace: ModelWorkspace, query: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        search(workspace.index, query, 10)
    assert str(raised.value).startswith(said)


def test_the_limit_keeps_the_newest(workspace: ModelWorkspace) -> None:
    assert [hit.subject for hit in search(workspace.index, "to:kim", 1)] == ["Überraschung"]


@pytest.mark.parametrize("newest", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("limit", [1, 2, 3, 20])
def test_frequent_words_find_the_same_messages(
    workspace: ModelWorkspace, monkeypatch: pytest.MonkeyPatch, newest: int, limit: int
) -> None:
    queries = ("contoso", "to:kim contoso*", "contoso after:2025-03-04", "contoso -has:attachment")
    expected = [search(workspace.index, query, limit) for query in queries]
    monkeypatch.setattr(fulltext, "_MANY", 1)
    monkeypatch.setattr(fulltext, "_NEWEST", newest)
    assert [search(workspace.index, query, limit) for query in queries] == expected
