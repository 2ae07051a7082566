"""Rounds of delta, and of the listing where there is no delta."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.config import Tenant
from pipelines.errors import TransientError
from pipelines.sources import Entry, Folder, Page, Reset, Role
from pipelines.sources.graph import GraphSource
from pipelines.sources.graph_changes import Cursor
from tests.sources.conftest import GraphOpener, WaitlessClock
from tests.sources.scripted_graph import INBOX_ID, Reply, ScriptedGraph, error, mail, message

INBOX = Folder("Inbox", Role.INBOX, INBOX_ID)
DELTA, TOKEN, NEXT = r"delta\(\)", r"delta\(\)\?\$deltatoken", r"skiptoken"
EXPIRED = [
    error(410, "SyncStateNotFound"),
    error(410, "SyncStateInvalid"),
    error(410, "resyncRequired"),
    error(410, "UnknownError", "ResyncRequired"),
    error(400, "syncStateNotFound"),
    error(410, "SyncStateNotFound", Location="https://localhost/v1.0/x/delta?$deltatoken="),
    Reply(410),
]


def walk(source: GraphSource, cursor: str | None = None) -> tuple[list[Page], list[Reset]]:
    pages: list[Page] = []
    resets: list[Reset] = []
    for step in source.changes(INBOX, cursor):
        if isinstance(step, Page):
            pages.append(step)
        else:
            resets.append(step)
    return pages, resets


def ids(pages: list[Page]) -> list[str]:
    return [each.native_id for page in pages for each in page.entries]


def mails(count: int) -> list[bytes]:
    return [mail(number) for number in range(count)]


@pytest.mark.parametrize(
    "cursor",
    [
        Cursor("https://graph/d"),
        Cursor("https://graph/d", "https://graph/n"),
        Cursor(None, "https://graph/n"),
        Cursor(None, None, ""),
        Cursor("https://graph/d", None, "2026-08-19T08:15:09+00:00"),
    ],
)
def test_a_cursor_is_read_as_it_was_written(cursor: Cursor) -> None:
    assert Cursor.read(cursor.written()) == cursor


@pytest.mark.parametrize(
    "text", ["{}", "[]", "12", "https://graph/d", '{"uidvalidity": 7, "uid": 5}', '{"delta": 5}', "", "{"]
)
def test_a_cursor_of_another_protocol_is_none(text: str) -> None:
    assert Cursor.read(text) is None


def test_the_first_round_lists_everything_page_by_page(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    native_ids = graph.add(*mails(7))
    pages, resets = walk(graph_source)
    assert (ids(pages), resets) == (native_ids, [])
    assert [len(each.entries) for each in pages] == [3, 3, 1]
    cursors = [json.loads(each.cursor) for each in pages]
    assert [sorted(each) for each in cursors] == [["next"], ["next"], ["delta"]]
    asked = graph.urls(DELTA)
    assert "$filter" not in asked[0]
    assert "$top" not in asked[0]
    assert all("odata.maxpagesize=" in each.headers["prefer"] for each in graph.asked)


def test_a_round_without_news_is_one_request(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    graph.add(*mails(4))
    pages, _ = walk(graph_source)
    before = len(graph.asked)
    again, resets = walk(graph_source, pages[-1].cursor)
    assert (ids(again), resets, len(graph.asked) - before) == ([], [], 1)
    assert json.loads(again[-1].cursor).keys() == {"delta"}


def link(query: str) -> str:
    return f"/users/kim.akers@contoso.com/mailFolders('{INBOX_ID}')/messages/delta?{query}"


def test_nothing_lost_behind_an_empty_page(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    native_ids = graph.add(*mails(2))
    following = graph.root + link("$skiptoken=0")
    graph.answer(DELTA, Reply(body={"value": [], "@odata.nextLink": following}))
    pages, _ = walk(graph_source)
    assert [len(each.entries) for each in pages] == [0, 2]
    assert ids(pages) == native_ids


def test_an_item_that_comes_twice_counts_as_it_came_last(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.page = 99
    first, second, third = (message(native, mail(1)) for native in "ABC")
    removed = {"@removed": {"reason": "deleted"}}
    told = [first, second, {"id": "B"} | removed, {"id": "C"} | removed, {"id": "A", "isRead": True}, third]
    graph.changed[INBOX_ID] = told
    (page,), _ = walk(graph_source, Cursor(graph.root + link("$deltatoken=0")).written())
    assert {each.native_id: each.flags for each in page.entries} == {"A": ("seen",), "C": ()}
    assert page.removed == {"B"}


def test_removals_are_told_and_are_no_entries(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    graph.add(*mails(2))
    pages, _ = walk(graph_source)
    graph.changed[INBOX_ID] = [{"id": "AAkA0001=", "@removed": {"reason": "changed"}}]
    again, _ = walk(graph_source, pages[-1].cursor)
    assert ids(again) == []
    assert again[0].removed == {"AAkA0001="}


def test_what_an_update_leaves_out_is_asked_for(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    graph.add(*mails(3))
    pages, _ = walk(graph_source)
    graph.messages[INBOX_ID]["AAkA0002="]["isRead"] = True
    graph.changed[INBOX_ID] = [{"id": "AAkA0002=", "isRead": True}, message("D", mail(9))]
    again, _ = walk(graph_source, pages[-1].cursor)
    before = {each.native_id: each for each in pages[0].entries}
    (changed,) = (each for page in again for each in page.entries if each.native_id == "AAkA0002=")
    assert changed.flags == ("seen",)
    assert changed.content_mark == before["AAkA0002="].content_mark
    assert len(graph.urls("GET /messages/")) == 1


def test_an_update_of_what_is_not_there_any_more_is_a_removal(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.changed[INBOX_ID] = [{"id": "gone=", "isRead": True}]
    (page,), _ = walk(graph_source, Cursor(graph.root + link("$deltatoken=0")).written())
    assert not page.entries
    assert page.removed == {"gone="}


@pytest.mark.parametrize("expired", EXPIRED)
def test_a_forgotten_delta_link_starts_from_the_beginning_and_says_so(
    graph: ScriptedGraph, graph_source: GraphSource, expired: Reply
) -> None:
    native_ids = graph.add(*mails(4))
    pages, _ = walk(graph_source)
    graph.answer(TOKEN, expired)
    again, resets = walk(graph_source, pages[-1].cursor)
    assert len(resets) == 1
    assert ids(again) == native_ids
    assert json.loads(again[0].cursor).keys() == {"next"}


@pytest.mark.parametrize("expired", EXPIRED)
def test_a_forgotten_next_link_goes_back_to_the_last_delta_link(
    graph: ScriptedGraph, graph_source: GraphSource, expired: Reply
) -> None:
    graph.add(*mails(1))
    pages, _ = walk(graph_source)
    graph.changed[INBOX_ID] = [message(f"N{number}", mail(number)) for number in range(5)]
    started = next(iter(graph_source.changes(INBOX, pages[-1].cursor)))
    assert isinstance(started, Page)
    assert json.loads(started.cursor).keys() == {"delta", "next"}
    graph.answer(NEXT, expired)
    again, resets = walk(graph_source, started.cursor)
    assert resets == []
    assert ids(again) == [f"N{number}" for number in range(5)]


def test_a_link_forgotten_within_the_first_round_starts_it_again(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    native_ids = graph.add(*mails(5))
    graph.answer(NEXT, error(410, "SyncStateNotFound"))
    pages, resets = walk(graph_source)
    assert len(resets) == 1
    assert ids(pages) == [*native_ids[:3], *native_ids]


def test_links_that_are_forgotten_again_and_again_end_the_round(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.add(*mails(5))
    graph.answer(f"{TOKEN}|{NEXT}", error(410, "SyncStateNotFound"), times=99)
    links = (graph.root + link(query) for query in ("$deltatoken=0", "$skiptoken=3"))
    steps = graph_source.changes(INBOX, Cursor(*links).written())
    reset, page = next(steps), next(steps)
    assert isinstance(reset, Reset)
    assert isinstance(page, Page)
    with pytest.raises(TransientError, match="Inbox"):
        next(steps)
    assert len(graph.asked) == 4


def test_a_beginning_that_is_forgotten_at_once_is_no_endless_loop(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.answer(DELTA, error(410, "SyncStateNotFound"), times=99)
    with pytest.raises(TransientError):
        walk(graph_source)
    assert len(graph.asked) == 2


@pytest.mark.parametrize("page", [{"value": []}, {"value": None, "@odata.nextLink": 5}])
def test_a_listing_that_ends_in_the_open_is_not_taken_for_whole(
    graph: ScriptedGraph, graph_source: GraphSource, page: dict[str, Any]
) -> None:
    graph.answer(DELTA, Reply(body=page))
    with pytest.raises(TransientError, match="without a link"):
        walk(graph_source)


def test_a_page_that_names_itself_as_the_next_one_is_no_endless_loop(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.answer("skiptoken=7", Reply(body={"value": [], "@odata.nextLink": f"{graph.root}/x?$skiptoken=7"}))
    with pytest.raises(TransientError, match="itself"):
        walk(graph_source, Cursor(None, f"{graph.root}/x?$skiptoken=7").written())


@pytest.mark.parametrize(
    "cursor",
    ['{"uidvalidity": 7, "uid": 5}', '{"delta": "https://graph.microsoft.com/v1.0/x?$deltatoken=1"}'],
)
def test_a_cursor_of_another_protocol_or_server_starts_from_the_beginning(
    graph: ScriptedGraph, graph_source: GraphSource, cursor: str
) -> None:
    native_ids = graph.add(*mails(2))
    pages, resets = walk(graph_source, cursor)
    assert len(resets) == 1
    assert ids(pages) == native_ids


def received(number: int) -> str:
    return f"2026-08-{number + 1:02}T08:15:09Z"


def in_august(graph: ScriptedGraph, count: int) -> list[str]:
    native_ids = []
    for number in range(count):
        native_ids += graph.add(mail(number), receivedDateTime=received(number))
    return native_ids


@pytest.mark.parametrize(
    "refusal",
    [
        error(507, "ErrorQuotaExceeded"),
        error(403, "ErrorQuotaExceeded"),
        error(400, "BadRequest"),
        error(501, "NotImplemented"),
        error(404, "UnknownError"),
        error(405, "ErrorInvalidRequest"),
    ],
    ids=lambda reply: str(reply.status),
)
def test_where_there_is_no_delta_the_folder_is_listed_by_time_of_receipt(
    graph: ScriptedGraph, graph_source: GraphSource, refusal: Reply
) -> None:
    native_ids = in_august(graph, 5)
    graph.answer(DELTA, refusal, times=99)
    pages, resets = walk(graph_source)
    assert (ids(pages), resets) == (native_ids, [])
    assert json.loads(pages[-1].cursor) == {"listed": "2026-08-05T08:15:09+00:00"}
    native_ids += graph.add(mail(9), receivedDateTime=received(8))
    again, _ = walk(graph_source, pages[-1].cursor)
    assert ids(again) == native_ids[-3:], "a day is listed again"


def test_a_cloud_without_delta_is_never_asked_for_it(
    graph: ScriptedGraph, open_graph: GraphOpener, graph_tenant: Tenant
) -> None:
    native_ids = in_august(graph, 4)
    source = open_graph(graph_tenant.model_copy(update={"cloud": "china"}))
    pages, _ = walk(source)
    assert ids(pages) == native_ids
    assert graph.urls(DELTA) == []
    assert ids(walk(source, pages[-1].cursor)[0]) == native_ids[-2:]


def test_a_listing_of_nothing_is_a_round_too(
    graph: ScriptedGraph, open_graph: GraphOpener, graph_tenant: Tenant
) -> None:
    source = open_graph(graph_tenant.model_copy(update={"cloud": "china"}))
    (page,), _ = walk(source)
    assert (list(page.entries), page.cursor) == ([], '{"listed": ""}')
    native_ids = graph.add(mail(1))
    assert ids(walk(source, page.cursor)[0]) == native_ids


def test_a_mailbox_with_room_again_goes_on_from_its_delta_link(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    in_august(graph, 2)
    pages, _ = walk(graph_source)
    graph.answer(DELTA, error(507, "ErrorQuotaExceeded"))
    listed, resets = walk(graph_source, pages[-1].cursor)
    assert resets == []
    assert json.loads(listed[-1].cursor).keys() == {"delta", "listed"}
    graph.changed[INBOX_ID] = [message("N", mail(7))]
    again, _ = walk(graph_source, listed[-1].cursor)
    assert ids(again) == ["N"]
    assert json.loads(again[-1].cursor).keys() == {"delta"}


def test_a_window_is_a_listing_newest_first(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    native_ids = in_august(graph, 9)
    since, before = datetime(2026, 8, 2, 8, 15, 9, tzinfo=UTC), datetime(2026, 8, 7, 8, 15, 9, tzinfo=UTC)
    pages = list(graph_source.window(INBOX, since, before))
    assert [each.native_id for page in pages for each in page] == list(reversed(native_ids[1:6]))
    assert all(each.identity for page in pages for each in page)
    assert graph.urls(DELTA) == []


def test_ids_are_listed_alone_and_counted(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    native_ids = graph.add(*mails(7))
    assert graph_source.native_ids(INBOX) == set(native_ids)
    assert all("$select=id&" in each for each in graph.urls("GET"))
    assert graph_source.count(INBOX) == 7


ARCHIVE = Folder("Archive", Role.ARCHIVE, "AAkArchive=")


def walk_both(graph: ScriptedGraph, source: GraphSource) -> None:
    graph.add(*mails(4))
    graph.add(*mails(2), into=ARCHIVE.native)
    for folder in (INBOX, ARCHIVE):
        assert list(source.changes(folder, None))
    graph.asked.clear()


def test_folders_that_were_walked_are_counted_in_one_batch_and_once(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    walk_both(graph, graph_source)
    assert (graph_source.count(INBOX), graph_source.count(ARCHIVE)) == (4, 2)
    assert [(each.method, each.url) for each in graph.asked] == [("POST", "/$batch")]
    graph.add(*mails(1), into=ARCHIVE.native)
    assert graph_source.count(ARCHIVE) == 3


def test_a_folder_that_is_walked_again_is_counted_again(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    walk_both(graph, graph_source)
    assert graph_source.count(INBOX) == 4
    graph.add(*mails(1), into=ARCHIVE.native)
    assert list(graph_source.changes(ARCHIVE, None))
    assert graph_source.count(ARCHIVE) == 3


@pytest.mark.parametrize("told", [error(404, "ErrorItemNotFound"), Reply(body={"value": []})])
def test_failure_is_contained_a_folder_that_the_batch_does_not_count_is_counted_alone(
    graph: ScriptedGraph, graph_source: GraphSource, told: Reply
) -> None:
    walk_both(graph, graph_source)
    graph.answer(r"AAkArchive=/messages\?\$count", told)
    assert (graph_source.count(INBOX), graph_source.count(ARCHIVE)) == (4, 2)
    assert len(graph.urls(r"GET .*AAkArchive=/messages/\$count")) == 1


DELTA_LINKS = r"GET /mailFolders/.*deltatoken"


def opened(source: GraphSource, cursors: dict[Folder, str]) -> dict[Folder, list[Page | Reset]]:
    """Every folder's walk from its cursor, called for before the first of them begins."""
    walks = {folder: source.changes(folder, cursor) for folder, cursor in cursors.items()}
    return {folder: list(steps) for folder, steps in walks.items()}


@pytest.fixture
def cursors(graph: ScriptedGraph, graph_source: GraphSource) -> dict[Folder, str]:
    """Of an Inbox and an Archive that were read."""
    walk_both(graph, graph_source)
    read = opened(graph_source, {INBOX: "", ARCHIVE: ""})
    graph.asked.clear()
    return {folder: steps[-1].cursor for folder, steps in read.items() if isinstance(steps[-1], Page)}


def test_folders_without_news_are_seen_to_be_so_in_one_batch(
    graph: ScriptedGraph, graph_source: GraphSource, cursors: dict[Folder, str]
) -> None:
    for _ in range(2):
        steps = opened(graph_source, cursors)
        assert steps == {folder: [Page([], cursor)] for folder, cursor in cursors.items()}
    assert [(each.method, each.url) for each in graph.asked] == [("POST", "/$batch")] * 2


def test_nothing_lost_a_folder_with_news_is_asked_by_its_own_link(
    graph: ScriptedGraph, graph_source: GraphSource, cursors: dict[Folder, str]
) -> None:
    graph.changed[ARCHIVE.native] = [message(f"AAkNew{each}=", mail(each)) for each in range(7)]
    steps = opened(graph_source, cursors)
    assert steps[INBOX] == [Page([], cursors[INBOX])]
    assert len(ids([each for each in steps[ARCHIVE] if isinstance(each, Page)])) == 7
    assert len(graph.urls("POST")) == 1
    assert len(graph.urls(DELTA_LINKS)) == 3  # pages


@pytest.mark.parametrize(
    "told",
    [
        error(400, "BadRequest"),
        error(404, "ErrorItemNotFound"),
        error(410, "SyncStateNotFound"),
        error(503, "ErrorServerBusy"),
        Reply(body={"value": []}),
        Reply(body=b'"not an object"'),
        Reply(body={"value": [], "@odata.nextLink": "https://localhost/x", "@odata.deltaLink": "https://x"}),
    ],
)
def test_failure_is_contained_a_link_that_the_batch_does_not_answer_is_asked_alone(
    graph: ScriptedGraph, graph_source: GraphSource, cursors: dict[Folder, str], told: Reply
) -> None:
    graph.answer(r"AAkArchive=/messages/delta", told)
    steps = opened(graph_source, cursors)
    assert steps == {folder: [Page([], cursor)] for folder, cursor in cursors.items()}
    assert len(graph.urls(DELTA_LINKS)) == 1


def test_nothing_lost_a_batch_that_forgets_the_links_tokens_is_not_believed(
    graph: ScriptedGraph, graph_source: GraphSource, cursors: dict[Folder, str]
) -> None:
    first = Reply(body={"value": [{"id": "AAkOld="}], "@odata.deltaLink": "https://localhost/x"})
    graph.answer(r"/delta", first, times=2)
    steps = opened(graph_source, cursors)
    assert steps == {folder: [Page([], cursor)] for folder, cursor in cursors.items()}
    assert len(graph.urls(DELTA_LINKS)) == 2


def test_a_graph_that_takes_no_links_in_a_batch_is_asked_so_once(
    graph: ScriptedGraph, graph_source: GraphSource, cursors: dict[Folder, str]
) -> None:
    graph.answer(r"/delta", error(400, "BadRequest"), times=2)
    for _ in range(2):
        steps = opened(graph_source, cursors)
        assert steps == {folder: [Page([], cursor)] for folder, cursor in cursors.items()}
    assert len(graph.urls("POST")) == 1
    assert len(graph.urls(DELTA_LINKS)) == 4


def test_a_mailbox_that_is_throttled_in_the_batch_waits(
    graph: ScriptedGraph, graph_source: GraphSource, cursors: dict[Folder, str], clock: WaitlessClock
) -> None:
    graph.answer(r"AAkArchive=/messages/delta", error(429, "ApplicationThrottled", **{"Retry-After": "30"}))
    assert opened(graph_source, cursors)[ARCHIVE] == [Page([], cursors[ARCHIVE])]
    assert max(clock.waits) >= 29


def test_ids_are_listed_again_if_the_folder_changed_between_the_pages(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.page = 1000
    native_ids = graph.add(*mails(1200))
    graph.answer("skiptoken=1000", Reply(body={"value": [{"id": each} for each in native_ids[1001:]]}))
    assert graph_source.native_ids(INBOX) == set(native_ids)


def test_entries_are_identified_one_by_one_or_from_a_listing(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.page = 50
    native_ids = graph.add(*mails(120))
    whole = next(iter(graph_source.identify(INBOX, [Entry(native_ids[0])])))
    assert whole.identity
    some = list(graph_source.identify(INBOX, [whole, Entry(native_ids[5]), Entry("unknown=")]))
    assert some[0] is whole
    assert some[1].identity
    assert some[2] == Entry("unknown=")
    assert len(graph.urls("GET /messages/")) == 3
    many = list(graph_source.identify(INBOX, [Entry(each) for each in native_ids]))
    assert [each.native_id for each in many] == native_ids
    assert all(each.identity for each in many)
    assert len(graph.urls("GET /messages/")) == 3
