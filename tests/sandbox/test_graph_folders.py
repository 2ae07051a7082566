"""Folders as Graph shows them: one level at a time, well-known names, hidden and search folders."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.sandbox.store import Store
from pipelines.sandbox.tenant import HIDDEN, SEARCH, furnish, seats
from tests.sandbox.graph_world import Box, code


def names(found: dict[str, Any]) -> list[str]:
    return [each["displayName"] for each in found["value"]]


def add(box: Box, *paths: str, **more: Any) -> None:
    for path in paths:
        box.world.store.create_folder(box.address, path, **more)


def test_only_the_top_level_is_listed(box: Box) -> None:
    add(box, "Projects", "Projects/Köln", "Projects/Köln/2024")
    found = box.json("mailFolders")
    assert names(found) == ["Inbox", "Sent Items", "Drafts", "Archive", "Projects"]
    projects = found["value"][-1]
    assert projects["childFolderCount"] == 1
    below = box.json(f"mailFolders/{projects['id']}/childFolders")
    assert names(below) == ["Köln"]
    assert below["value"][0]["parentFolderId"] == projects["id"]
    assert names(box.json(f"mailFolders/{below['value'][0]['id']}/childFolders")) == ["2024"]


def test_a_page_has_ten_folders_unless_top_says_otherwise(box: Box) -> None:
    add(box, *(f"F{number:02}" for number in range(19)))
    pages = box.pages("mailFolders")
    assert [len(each["value"]) for each in pages] == [10, 10, 3]
    assert [len(each["value"]) for each in box.pages("mailFolders?$top=15")] == [15, 8]
    assert "%24skip=10" in pages[0]["@odata.nextLink"]
    assert [name for each in pages for name in names(each)] == names(box.json("mailFolders?$top=100"))


def test_folders_that_hold_no_mail_are_not_listed(box: Box) -> None:
    add(box, "Calendar", item_class="IPF.Appointment")
    assert "Calendar" not in names(box.json("mailFolders?includeHiddenFolders=true"))
    calendar = box.world.store.folder(box.address, "Calendar")
    assert code(box.get(f"mailFolders/{calendar.folder_id}")) == (404, "ErrorItemNotFound")


def test_hidden_folders_are_listed_on_request_and_not_counted_among_children(box: Box) -> None:
    add(box, "Secret", "Inbox/Hidden", hidden=True)
    add(box, "Inbox/Shown")
    assert "Secret" not in names(box.json("mailFolders"))
    found = box.json("mailFolders?includeHiddenFolders=true")
    assert [each["displayName"] for each in found["value"] if each["isHidden"]] == ["Secret"]
    assert box.json("mailFolders/inbox")["childFolderCount"] == 1
    assert names(box.json("mailFolders/inbox/childFolders")) == ["Shown"]
    assert names(box.json("mailFolders/inbox/childFolders?includeHiddenFolders=true")) == ["Hidden", "Shown"]
    assert box.get("mailFolders/$count").text == "4"
    assert box.get("mailFolders/$count?includeHiddenFolders=true").text == "5"


def test_a_search_folder_shows_messages_of_other_folders(box: Box) -> None:
    add(box, "Unread", search=True)
    unread = [box.deliver(), box.deliver(None, "Archive")]
    box.deliver(None, "Archive", "seen")
    shown = next(each for each in box.json("mailFolders")["value"] if each["displayName"] == "Unread")
    assert shown["@odata.type"] == "#microsoft.graph.mailSearchFolder"
    assert (shown["totalItemCount"], shown["filterQuery"]) == (2, "isRead eq false")
    found = box.json(f"mailFolders/{shown['id']}/messages")["value"]
    assert {each["id"] for each in found} == {each.immutable_id for each in unread}
    assert {each["parentFolderId"] for each in found} == {
        box.world.store.folder(box.address, path).folder_id for path in ("Inbox", "Archive")
    }
    assert code(box.get(f"mailFolders/{shown['id']}/messages/delta")) == (400, "ErrorInvalidRequest")


def test_well_known_names_are_ids(box: Box) -> None:
    for name, shown in (
        ("inbox", "Inbox"),
        ("SentItems", "Sent Items"),
        ("drafts", "Drafts"),
        ("archive", "Archive"),
    ):
        assert box.json(f"mailFolders/{name}")["displayName"] == shown
    root = box.json("mailFolders/msgfolderroot")
    assert (root["displayName"], root["childFolderCount"]) == ("Top of Information Store", 4)
    assert box.json("mailFolders/inbox")["parentFolderId"] == root["id"]
    assert names(box.json(f"mailFolders/{root['id']}/childFolders")) == names(box.json("mailFolders"))
    for absent in ("outbox", "recoverableitemsdeletions", "searchfolders"):
        assert code(box.get(f"mailFolders/{absent}")) == (404, "ErrorFolderNotFound")
    assert code(box.get("mailFolders/deleteditems")) == (400, "ErrorInvalidIdMalformed")


def test_a_folder_counts_what_it_holds(box: Box) -> None:
    box.deliver()
    box.deliver(None, "Inbox", "seen")
    inbox = box.json("mailFolders/inbox")
    assert (inbox["totalItemCount"], inbox["unreadItemCount"]) == (2, 1)
    assert inbox["sizeInBytes"] == sum(each.size for each in box.world.store.listing(box.address, "Inbox"))


def test_a_rename_keeps_the_id(box: Box) -> None:
    before = box.json("mailFolders/archive")
    box.world.store.rename_folder(box.address, "Archive", "Inbox/Old")
    after = box.json(f"mailFolders/{before['id']}")
    assert (after["displayName"], after["parentFolderId"]) == ("Old", box.json("mailFolders/inbox")["id"])
    assert len(before["id"]) == 120


def test_select_keeps_the_id(box: Box) -> None:
    for each in box.json("mailFolders?$select=displayName")["value"]:
        assert set(each) == {"id", "displayName"}
    assert code(box.get("mailFolders?$select=size")) == (400, "BadRequest")


def test_folders_are_found_by_name(box: Box) -> None:
    add(box, "O'Neil")
    assert names(box.json("mailFolders", params={"$filter": "displayName eq 'O''Neil'"})) == ["O'Neil"]
    assert code(box.get("mailFolders?$filter=isHidden eq true")) == (400, "ErrorInvalidUrlQueryFilter")
    assert code(box.get("mailFolders?$orderby=displayName")) == (400, "ErrorInvalidRequest")


@pytest.mark.parametrize("top", ["0", "-1", "x", "1001"])
def test_a_top_out_of_bounds_is_refused(box: Box, top: str) -> None:
    assert code(box.get(f"mailFolders?$top={top}")) == (400, "BadRequest")


def test_delta_tells_the_whole_tree_and_then_what_changed(box: Box) -> None:
    add(box, "Projects", "Projects/Köln", *(f"F{number}" for number in range(8)))
    add(box, "Secret", hidden=True)
    entries, link = box.round("mailFolders/delta")
    assert len(entries) == 14
    assert {"Köln", "Inbox"} <= {each["displayName"] for each in entries}
    assert box.round(link)[0] == []
    store = box.world.store
    store.rename_folder(box.address, "Projects/Köln", "Projects/Cologne")
    gone = store.folder(box.address, "F3").folder_id
    store.delete_folder(box.address, "F3")
    changes, _ = box.round(link)
    assert [each for each in changes if "@removed" in each] == [
        {"id": gone, "@removed": {"reason": "deleted"}}
    ]
    assert [each["displayName"] for each in changes if "@removed" not in each] == ["Cologne"]


def test_the_furnished_tenant_has_a_hidden_and_a_search_folder(tmp_path: Path) -> None:
    store, chosen = Store(tmp_path / "store"), seats(2)
    furnish(store, chosen, 40, None, 0)
    hidden = store.folder(chosen[0].address, HIDDEN)
    search = store.folder(chosen[0].address, SEARCH)
    shown = sum(folder.shows_mail for _, folder, _ in store.everything())
    store.close()
    assert (hidden.hidden, len(hidden.messages)) == (True, 2)
    assert (search.search, len(search.messages)) == (True, 0)
    assert shown == 40
