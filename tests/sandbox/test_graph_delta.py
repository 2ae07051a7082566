"""Rounds of delta, as Exchange Online gives them: what they tell, what they lose, when they forget."""

from typing import Any

import pytest

from pipelines.sandbox.faults import FaultKind
from pipelines.sandbox.store import Message
from tests.sandbox.graph_world import Box, code, message_path

START = "mailFolders/inbox/messages/delta"


def shown(entries: list[dict[str, Any]]) -> set[str]:
    return {each["id"] for each in entries if "@removed" not in each}


def removed(entries: list[dict[str, Any]]) -> set[str]:
    return {each["id"] for each in entries if "@removed" in each}


def immutable(messages: list[Message]) -> set[str]:
    return {each.immutable_id for each in messages}


def move(box: Box, message: Message, path: str, to_path: str) -> None:
    box.world.store.move(box.address, path, message.uid, to_path)


def test_a_first_round_tells_the_folder_page_by_page(box: Box) -> None:
    messages = box.fill(25)
    pages = box.pages(START)
    assert [len(each["value"]) for each in pages] == [10, 10, 5]
    assert shown([entry for page in pages for entry in page["value"]]) == immutable(messages)
    assert all("@odata.nextLink" in each for each in pages[:-1])
    assert set(pages[-1]) == {"@odata.context", "@odata.deltaLink", "value"}
    assert "('" in pages[0]["@odata.nextLink"]
    assert "/messages/delta?$skiptoken=" in pages[0]["@odata.nextLink"]
    assert "/messages/delta?$deltatoken=" in pages[-1]["@odata.deltaLink"]


def test_the_page_size_is_preferred_and_may_change_with_each_page(box: Box) -> None:
    box.fill(12)
    box.prefer.append("odata.maxpagesize=5")
    first = box.json(START)
    box.prefer[-1] = "odata.maxpagesize=100"
    assert [len(each["value"]) for each in (first, *box.pages(first["@odata.nextLink"]))] == [5, 7]


def test_delta_is_called_with_and_without_parentheses(box: Box) -> None:
    box.deliver()
    for path in (START, f"{START}()", f"{START.removesuffix('delta')}microsoft.graph.delta()"):
        assert len(box.json(path)["value"]) == 1


def test_order_is_not_promised_unless_asked_for(box: Box) -> None:
    messages = box.fill(40)
    box.prefer.append("odata.maxpagesize=100")
    newest_first = [each.immutable_id for each in reversed(messages)]
    assert [each["id"] for each in box.json(START)["value"]] != newest_first
    ordered = box.json(f"{START}?$orderby=receivedDateTime desc")
    assert [each["id"] for each in ordered["value"]] == newest_first


def test_select_is_kept_in_the_links(box: Box) -> None:
    box.fill(11)
    entries, link = box.round(f"{START}?$select=subject,isRead")
    assert {frozenset(each) for each in entries} == {
        frozenset({"@odata.type", "@odata.etag", "id", "subject", "isRead"})
    }
    box.deliver()
    assert set(box.round(link)[0][0]) == {"@odata.type", "@odata.etag", "id", "subject", "isRead"}


def test_a_next_round_tells_what_came_and_went(box: Box) -> None:
    messages = box.fill(3)
    _, link = box.round(START)
    assert box.round(link)[0] == []
    box.world.store.delete(box.address, "Inbox", messages[0].uid)
    move(box, messages[1], "Inbox", "Archive")
    new = box.deliver()
    entries, link = box.round(link)
    assert removed(entries) == immutable(messages[:2])
    assert shown(entries) == {new.immutable_id}
    gone = next(each for each in entries if "@removed" in each)
    assert gone == {
        "@odata.type": "#microsoft.graph.message",
        "id": gone["id"],
        "@removed": {"reason": "deleted"},
    }
    assert box.round(link)[0] == []


def test_a_mark_brings_only_what_changed_and_an_edit_everything(box: Box) -> None:
    read, edited = box.fill(2)
    _, link = box.round(f"{START}?$select=subject,isRead,flag")
    store = box.world.store
    store.set_flags(box.address, "Inbox", read.uid, frozenset({"seen"}))
    store.edit(box.address, "Inbox", edited.uid, b"Subject: new words\r\n\r\n")
    entries = {each["id"]: each for each in box.round(link)[0]}
    mark = entries[read.immutable_id]
    assert {name: value for name, value in mark.items() if not name.startswith("@")} == {
        "id": read.immutable_id,
        "isRead": True,
    }
    assert entries[edited.immutable_id]["subject"] == "new words"
    assert {"isRead", "flag"} <= set(entries[edited.immutable_id])


def test_a_mark_that_was_not_selected_brings_the_id_alone(box: Box) -> None:
    message = box.deliver()
    _, link = box.round(f"{START}?$select=subject")
    box.world.store.set_flags(box.address, "Inbox", message.uid, frozenset({"seen"}))
    assert [set(each) for each in box.round(link)[0]] == [{"@odata.type", "@odata.etag", "id"}]


def test_with_immutable_ids_a_message_moved_away_and_back_is_lost_until_it_changes(box: Box) -> None:
    message = box.deliver()
    _, link = box.round(START)
    move(box, message, "Inbox", "Archive")
    move(box, message, "Archive", "Inbox")
    entries, link = box.round(link)
    assert (removed(entries), shown(entries)) == ({message.immutable_id}, set())
    assert box.round(link)[0] == []
    assert box.json("mailFolders/inbox/messages")["value"][0]["id"] == message.immutable_id
    box.world.store.set_flags(box.address, "Inbox", message.uid, frozenset({"flagged"}))
    assert shown(box.round(link)[0]) == {message.immutable_id}


def test_with_mutable_ids_the_same_message_comes_back_under_a_new_one(box: Box) -> None:
    box.prefer = []
    message = box.deliver()
    before = message.mutable_id
    _, link = box.round(START)
    move(box, message, "Inbox", "Archive")
    move(box, message, "Archive", "Inbox")
    entries, _ = box.round(link)
    assert (removed(entries), shown(entries)) == ({before}, {message.mutable_id})


def test_a_move_shows_in_the_target_unless_the_tenant_hides_it(box: Box) -> None:
    message = box.deliver()
    archive = START.replace("inbox", "archive")
    _, link = box.round(archive)
    move(box, message, "Inbox", "Archive")
    assert shown(box.round(link)[0]) == {message.immutable_id}
    box.world.door.settings.moves_shown = False
    assert box.round(link)[0] == []
    box.world.store.set_flags(box.address, "Archive", message.uid, frozenset({"seen"}))
    assert shown(box.round(link)[0]) == {message.immutable_id}


def test_a_message_that_came_and_went_between_two_rounds_is_only_told_as_gone(box: Box) -> None:
    _, link = box.round(START)
    message = box.deliver()
    box.world.store.delete(box.address, "Inbox", message.uid)
    entries, _ = box.round(link)
    assert (removed(entries), shown(entries)) == ({message.immutable_id}, set())


def test_a_message_that_leaves_during_a_round_is_told_in_the_next(box: Box) -> None:
    messages = box.fill(15)
    first = box.json(START)
    for each in messages:
        move(box, each, "Inbox", "Archive")
    entries, link = box.round(first["@odata.nextLink"])
    assert entries == []
    assert removed(box.round(link)[0]) == immutable(messages)


def test_a_new_uidvalidity_is_nothing_to_graph(box: Box) -> None:
    box.fill(3)
    _, link = box.round(START)
    box.world.store.reset_uidvalidity(box.address, "Inbox")
    assert box.round(link)[0] == []


def test_an_empty_page_with_a_next_link_is_not_the_end(box: Box) -> None:
    messages = box.fill(30)
    box.world.door.settings.empty_pages = 0.5
    pages = box.pages(START)
    sizes = [len(each["value"]) for each in pages]
    assert 0 in sizes[:-1]
    assert shown([entry for page in pages for entry in page["value"]]) == immutable(messages)


def test_an_empty_page_can_be_had_at_will(box: Box) -> None:
    box.fill(3)
    box.fault(FaultKind.EMPTY, command="delta", times=3)
    sizes = [len(each["value"]) for each in box.pages(START)]
    assert sizes == [0, 0, 0, 3]


def test_a_message_may_come_several_times_in_a_round(box: Box) -> None:
    messages = box.fill(30)
    box.world.door.settings.repeats = 1.0
    box.prefer.append("odata.maxpagesize=5")
    pages = box.pages(START)
    entries = [each["id"] for page in pages for each in page["value"]]
    assert set(entries) == immutable(messages)
    assert len(entries) > len(set(entries))
    assert max(len(each["value"]) for each in pages) == 5


def test_removals_in_a_first_round_and_old_changes_in_a_later_one(box: Box) -> None:
    old = box.deliver()
    box.world.store.delete(box.address, "Inbox", old.uid)
    message = box.deliver()
    box.world.door.settings.repeats = 1.0
    entries, link = box.round(START)
    assert (removed(entries), shown(entries)) == ({old.immutable_id}, {message.immutable_id})
    assert shown(box.round(link)[0]) == {message.immutable_id}


def test_a_link_can_be_asked_again(box: Box) -> None:
    box.fill(25)
    first = box.json(START)
    again = [box.json(first["@odata.nextLink"]) for _ in range(2)]
    assert again[0]["value"] == again[1]["value"]
    assert again[0]["@odata.nextLink"] != again[1]["@odata.nextLink"]


def test_only_the_newest_generations_are_kept_also_of_the_running_round(box: Box) -> None:
    box.fill(60)
    pages = box.pages(START)
    links = [each["@odata.nextLink"] for each in pages[:-1]]
    assert len(links) == 5
    answer = box.get(links[0])
    assert code(answer) == (410, "SyncStateNotFound")
    message = answer.json()["error"]["message"]
    assert message == "The sync state generation is not found; generation=1;[highest=6][4][5][6]."
    assert box.get(links[-1]).status_code == 200
    assert box.get(pages[-1]["@odata.deltaLink"]).status_code == 200


def test_another_clients_rounds_do_not_age_this_ones(box: Box) -> None:
    box.fill(40)
    _, link = box.round(START)
    for _ in range(5):
        box.round(START)
    assert box.round(link)[0] == []


def test_a_forgotten_link_may_say_where_to_start_again(box: Box) -> None:
    box.fill(60)
    link = box.pages(START)[0]["@odata.nextLink"]
    answer = box.get(link)
    where = answer.headers["location"]
    assert where.endswith("/messages/delta?$deltatoken=")
    assert len(box.round(where)[0]) == 60
    box.world.door.settings.gone_with_location = False
    assert "location" not in box.get(link).headers


def test_after_a_reset_everything_comes_and_no_removal(box: Box) -> None:
    messages = box.fill(5)
    box.round(START)
    box.world.store.delete(box.address, "Inbox", messages[0].uid)
    entries, _ = box.round(START)
    assert (removed(entries), shown(entries)) == (set(), immutable(messages[1:]))


@pytest.mark.parametrize("token", ["nonsense", "%00", "AAAA"])
def test_a_token_of_nobodys_is_a_bad_request(box: Box, token: str) -> None:
    assert code(box.get(f"{START}?$deltatoken={token}")) == (400, "BadRequest")


def test_latest_is_not_known_and_tells_mail(box: Box) -> None:
    box.deliver()
    assert len(box.json(f"{START}?$deltatoken=latest")["value"]) == 1


def test_a_folder_that_is_gone_says_so(box: Box) -> None:
    box.fill(15)
    archive = box.world.store.create_folder(box.address, "Old")
    _, link = box.round(f"mailFolders/{archive.folder_id}/messages/delta")
    box.world.store.delete_folder(box.address, "Old")
    assert code(box.get(link)) == (404, "ErrorSyncFolderNotFound")
    assert code(box.get(f"mailFolders/{archive.folder_id}/messages/delta")) == (404, "ErrorItemNotFound")


def test_a_renamed_folder_keeps_its_links(box: Box) -> None:
    message = box.deliver(None, "Archive")
    _, link = box.round(START.replace("inbox", "archive"))
    box.world.store.rename_folder(box.address, "Archive", "Old")
    box.world.store.set_flags(box.address, "Old", message.uid, frozenset({"seen"}))
    assert shown(box.round(link)[0]) == {message.immutable_id}


def test_a_filter_bounds_the_round_and_the_next_ones(box: Box) -> None:
    messages = box.fill(5)
    query = f"{START}?$filter=receivedDateTime ge 2026-03-02T10:23:30Z"
    entries, link = box.round(query)
    assert [each["id"] for each in entries] == [messages[number].immutable_id for number in (4, 3)]
    box.world.store.set_flags(box.address, "Inbox", messages[0].uid, frozenset({"seen"}))
    assert box.round(link)[0] == []


def test_nothing_says_that_a_filter_cut_the_round(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sandbox.graph_delta._FILTERED_MOST", 20)
    messages = box.fill(25)
    entries, link = box.round(f"{START}?$filter=receivedDateTime gt 2026-01-01T00:00:00Z")
    assert shown(entries) == immutable(messages[5:])
    assert box.round(link)[0] == []
    assert len(box.round(START)[0]) == 25


def test_top_limits_the_whole_round(box: Box) -> None:
    box.fill(25)
    entries, _ = box.round(f"{START}?$top=15")
    assert len(entries) == 15


@pytest.mark.parametrize(("kind", "expected"), [("created", 1), ("updated", 1), ("deleted", 1), (None, 3)])
def test_the_kind_of_change_can_be_chosen(box: Box, kind: str | None, expected: int) -> None:
    gone, marked = box.fill(2)
    entries, link = box.round(START + (f"?changeType={kind}" if kind else ""))
    assert len(entries) == (2 if kind in (None, "created") else 0)
    box.world.store.delete(box.address, "Inbox", gone.uid)
    box.world.store.set_flags(box.address, "Inbox", marked.uid, frozenset({"seen"}))
    box.deliver()
    assert len(box.round(link)[0]) == expected


@pytest.mark.parametrize(
    "query",
    ["$filter=isRead eq true", "$filter=receivedDateTime lt 2026-01-01T00:00:00Z", "$search=x", "$top=0",
     "$orderby=receivedDateTime", "changeType=moved", "$select=nothing"],
)  # fmt: skip
def test_what_delta_does_not_support_is_refused(box: Box, query: str) -> None:
    assert box.get(f"{START}?{query}").status_code == 400


def test_delta_is_per_folder(box: Box) -> None:
    assert code(box.get("messages/delta")) == (400, "ErrorInvalidRequest")


def test_extended_properties_are_not_told(box: Box) -> None:
    box.deliver()
    query = "$expand=singleValueExtendedProperties($filter=id eq 'Integer 0x0E08')"
    assert "singleValueExtendedProperties" not in box.json(f"{START}?{query}")["value"][0]


def test_what_is_hidden_from_the_door_is_nowhere_until_it_is_shown_again(box: Box) -> None:
    message, other = box.fill(2)
    box.world.store.hide(box.address, "Inbox", message.uid, "graph")
    told, link = box.round(START)
    assert shown(told) == {other.immutable_id}
    assert box.get("mailFolders/inbox/messages/$count").text == "1"
    assert code(box.get(message_path(message))) == (404, "ErrorItemNotFound")
    assert box.round(link)[0] == []
    box.world.store.hide(box.address, "Inbox", message.uid, "graph", hidden=False)
    assert shown(box.round(link)[0]) == {message.immutable_id}
