"""From Graph's folder listings to paths and roles."""

import pytest

from pipelines.config import Tenant
from pipelines.sources import Folder, Role
from pipelines.sources.graph import GraphSource
from pipelines.sources.graph_folders import Listed, name_folders
from tests.sources.conftest import GraphOpener
from tests.sources.scripted_graph import INBOX_ID, ScriptedGraph, error, folder


def listed(native: str, name: str, parent: str | None = None, *, hidden: bool = False) -> Listed:
    return Listed(native, parent, name, 0, hidden, search=False)


def paths(*folders: Listed, roles: dict[str, Role | None] | None = None) -> dict[str, str]:
    return {each.native: each.path for each in name_folders(folders, roles or {}, hidden=True)}


def test_levels_are_joined_and_the_inbox_is_called_inbox_in_every_language() -> None:
    found = paths(
        listed("i", "Posteingang"),
        listed("k", "Köln", "i"),
        listed("a", "2024/25", "k"),
        roles={"i": Role.INBOX},
    )
    assert found == {"i": "Inbox", "k": "Inbox/Köln", "a": "Inbox/Köln/2024%2F25"}


def test_no_two_folders_have_one_path() -> None:
    found = paths(
        listed("i", "Posteingang"),
        listed("b", "Inbox"),
        listed("d", "A/B"),
        listed("c", "A%2FB"),
        listed("e", "A"),
        listed("f", "B", "e"),
        listed("g", "B", "e"),
        roles={"i": Role.INBOX},
    )
    assert len(set(found.values())) == len(found)
    assert found["i"] == "Inbox"
    assert (found["c"], found["e"], found["f"]) == ("A%2FB", "A", "A/B")
    assert found["b"].startswith("Inbox (")


def test_names_of_folders_that_are_alike_do_not_depend_on_the_order_of_the_listing() -> None:
    alike = [listed(native, "Projects") for native in "zyx"]
    assert paths(*alike) == paths(*reversed(alike))
    assert paths(*alike)["x"] == "Projects"


def test_what_is_skipped_says_why() -> None:
    told = [
        Listed("s", None, "Found", 0, hidden=False, search=True),
        Listed("h", None, "Staging", 0, hidden=True, search=False),
        Listed("y", None, "Sync", 0, hidden=False, search=False),
        Listed("p", None, "Projects", 0, hidden=False, search=False),
    ]
    roles: dict[str, Role | None] = {"y": None}
    shown = {each.native: each.skipped for each in name_folders(told, roles, hidden=False)}
    assert shown == {"s": "search folder", "h": "hidden", "y": "non-mail", "p": None}
    asked_for = {each.native: each.skipped for each in name_folders(told, roles, hidden=True)}
    assert asked_for == shown | {"h": None}


@pytest.fixture
def tree(graph: ScriptedGraph) -> ScriptedGraph:
    """A German mailbox; the count of children leaves hidden ones out."""
    graph.well_known = {"inbox": INBOX_ID, "sentitems": "S", "deleteditems": "D", "syncissues": "Y"}
    graph.children = {
        "": [
            folder("S", "Gesendete Elemente"),
            folder("D", "Gelöschte Elemente", children=1),
            folder(INBOX_ID, "Posteingang", children=1),
            folder("Y", "Synchronisierungsprobleme", children=3),
            folder("F", "Alles Ungelesene", children=1, search=True),
            folder("H", "Ablage", children=1, hidden=True),
            folder("P", "Projekte"),
        ],
        INBOX_ID: [folder("K", "Köln", children=1)],
        "K": [folder("R", "Rechnungen/Quittungen")],
        "D": [folder("O", "Alt")],
        "H": [folder("V", "Verborgenes")],
        "P": [folder("Q", "Nur verborgen", hidden=True)],
        "Y": [folder("C", "Konflikte")],
        "F": [folder("N", "Nie gefragt")],
    }
    return graph


def test_the_whole_tree_is_found_page_by_page(tree: ScriptedGraph, graph_source: GraphSource) -> None:
    found = graph_source.folders()
    assert found[0] == Folder("Inbox", Role.INBOX, INBOX_ID)
    assert {each.path: (each.role, each.skipped) for each in found[1:]} == {
        "Ablage": (Role.OTHER, "hidden"),
        "Alles Ungelesene": (Role.OTHER, "search folder"),
        "Gelöschte Elemente": (Role.TRASH, None),
        "Gelöschte Elemente/Alt": (Role.OTHER, None),
        "Gesendete Elemente": (Role.SENT, None),
        "Inbox/Köln": (Role.OTHER, None),
        "Inbox/Köln/Rechnungen%2FQuittungen": (Role.OTHER, None),
        "Projekte": (Role.OTHER, None),
        "Synchronisierungsprobleme": (Role.OTHER, "non-mail"),
    }
    assert [each.path for each in found] == ["Inbox", *sorted(each.path for each in found[1:])]


def test_only_folders_with_folders_are_asked_for_them(tree: ScriptedGraph, graph_source: GraphSource) -> None:
    tree.page = 100
    graph_source.folders()
    assert len(tree.urls("POST")) == 1
    asked = [each.partition("?")[0] for each in tree.urls("GET")]
    assert sorted(asked) == sorted(f"/mailFolders/{each}/childFolders" for each in (INBOX_ID, "K", "D"))
    assert all("includeHiddenFolders=true" in each for each in tree.urls("GET"))


def test_hidden_folders_are_looked_for_everywhere_when_asked_for(
    tree: ScriptedGraph, open_graph: GraphOpener, graph_tenant: Tenant
) -> None:
    found = open_graph(graph_tenant, hidden=True).folders()
    read = {each.path for each in found if not each.skipped}
    assert {"Ablage", "Ablage/Verborgenes", "Projekte/Nur verborgen"} <= read
    assert {each.path for each in found if each.skipped} == {"Alles Ungelesene", "Synchronisierungsprobleme"}


def test_a_folder_deleted_while_the_tree_is_read_is_left_out(
    tree: ScriptedGraph, graph_source: GraphSource
) -> None:
    tree.answer("K/childFolders", error(404, "ErrorItemNotFound"))
    found = {each.path for each in graph_source.folders()}
    assert "Inbox/Köln" in found
    assert "Inbox/Köln/Rechnungen%2FQuittungen" not in found


def test_a_folder_without_a_name_has_one_here(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    graph.children[""] += [folder("X", "  "), {"id": "W", "displayName": None}, folder("Z", " padded ")]
    found = {each.native: each.path for each in graph_source.folders()}
    assert found["W"] == "unnamed"
    assert found["X"].startswith("unnamed (")
    assert found["Z"] == "padded"
