"""The folders of a mailbox: the tree, its paths and roles, and what of it holds no mail to read.

Source: Microsoft, "mailFolder resource type", "List mailFolders". A listing shows one level; display
names follow the mailbox's language, may repeat among siblings, and may hold the ``/`` that parts levels here.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import MailoverError
from pipelines.sources.base import Folder, Role
from pipelines.sources.graph_faults import AnswerRefusedError, Kind
from pipelines.sources.graph_retries import Outcome
from pipelines.sources.graph_session import GraphSession

_WELL_KNOWN = {
    "inbox": Role.INBOX,
    "sentitems": Role.SENT,
    "drafts": Role.DRAFTS,
    "deleteditems": Role.TRASH,
    "junkemail": Role.JUNK,
    "archive": Role.ARCHIVE,
    "outbox": Role.OUTBOX,
    "syncissues": None,
}
"""Names that stand for a folder in every language; the last holds logs of Outlook, not mail."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A folder as Graph lists it."""

    id: str
    parent: str | None
    name: str
    children: int
    hidden: bool
    search: bool


def read_folders(session: GraphSession, *, hidden: bool) -> list[Folder]:
    """Every folder that Graph shows, the Inbox first, then in order of their paths.

    ``hidden``: hidden folders are read, and so are looked for everywhere; else those beside visible ones are
    listed as skipped. One $batch, and a request for each folder that has folders.
    """
    top, names = session.urls.folders(), {session.urls.well_known(each): each for each in _WELL_KNOWN}
    outcomes = session.batch([top, *names])
    first = outcomes.pop(top)
    roles = _well_known(session, {names[url]: outcome for url, outcome in outcomes.items()})
    return name_folders(_tree(session, (top, first), roles, hidden=hidden), roles, hidden=hidden)


def _well_known(session: GraphSession, outcomes: Mapping[str, Outcome]) -> dict[str, Role | None]:
    """Roles by folder id. ``outcomes``: what was answered to each name."""
    roles: dict[str, Role | None] = {}
    for name, outcome in outcomes.items():
        if isinstance(outcome, AnswerRefusedError) and outcome.kind is Kind.NOT_FOUND:
            continue  # the archive, for one, is made when it is first used
        if isinstance(outcome, MailoverError):
            raise outcome
        roles[session.read(outcome)["id"]] = _WELL_KNOWN[name]
    return roles


def _tree(
    session: GraphSession, top: tuple[str, Outcome], roles: Mapping[str, Role | None], *, hidden: bool
) -> Iterator[Listed]:
    """The levels from the ``top`` down, a URL and its answer; a level's folders are asked side by side."""
    url, outcome = top
    answered: Iterable[tuple[tuple[str, str | None], Outcome]] = [((url, None), outcome)]
    while True:
        following: list[tuple[str, str | None]] = []
        for (url, parent), outcome in answered:
            if isinstance(outcome, AnswerRefusedError) and outcome.kind is Kind.NOT_FOUND and parent:
                continue  # deleted since its parent was listed
            if isinstance(outcome, MailoverError):
                raise outcome
            page = session.read(outcome)
            if link := session.link(page, "next", url):
                following.append((link, parent))
            for folder in (_listed(each, parent) for each in session.listed(page)):
                yield folder
                if _may_hold_folders(folder, roles, hidden=hidden):
                    following.append((session.urls.child_folders(folder.id), folder.id))
        if not following:
            return
        answered = session.ask_all([(each[0], each) for each in following], check=session.whole)


def _listed(told: Mapping[str, Any], parent: str | None) -> Listed:
    return Listed(
        id=told["id"],
        parent=parent,
        name=str(told.get("displayName") or "").strip() or "unnamed",
        children=told.get("childFolderCount") or 0,
        hidden=told.get("isHidden") is True,
        search=str(told.get("@odata.type", "")).endswith("mailSearchFolder"),
    )


def _may_hold_folders(folder: Listed, roles: Mapping[str, Role | None], *, hidden: bool) -> bool:
    if folder.search or (folder.hidden and not hidden) or roles.get(folder.id, Role.OTHER) is None:
        return False
    # The count is of visible ones only.
    return bool(folder.children) or hidden


def name_folders(listed: Iterable[Listed], roles: Mapping[str, Role | None], *, hidden: bool) -> list[Folder]:
    """Paths, roles, and why some are skipped. ``roles``: by id, None for the folder that holds no mail."""
    by_id = {each.id: each for each in listed}
    names = _names(by_id.values(), roles)
    folders = []
    for each in by_id.values():
        levels = [names[each.id]]
        above = each.parent
        while above is not None:
            levels.append(names[above])
            above = by_id[above].parent
        role = roles.get(each.id, Role.OTHER)
        path = "/".join(reversed(levels))
        folders.append(Folder(path, role or Role.OTHER, each.id, _skipped(each, role, hidden=hidden)))
    return sorted(folders, key=lambda folder: (folder.role is not Role.INBOX, folder.path))


def _names(listed: Iterable[Listed], roles: Mapping[str, Role | None]) -> dict[str, str]:
    """A name by id, no two alike in one folder. Of several alike the Inbox keeps it, else the lowest id."""
    names: dict[str, str] = {}
    taken: set[tuple[str | None, str]] = set()
    for each in sorted(listed, key=lambda one: (roles.get(one.id) is not Role.INBOX, one.id)):
        name = "Inbox" if roles.get(each.id) is Role.INBOX else each.name.replace("/", "%2F")
        if (each.parent, name) in taken:
            name = f"{name} ({hashlib.sha256(each.id.encode()).hexdigest()[:6]})"
        taken.add((each.parent, name))
        names[each.id] = name
    return names


def _skipped(folder: Listed, role: Role | None, *, hidden: bool) -> str | None:
    if folder.search:
        return "search folder"
    if role is None:
        return "non-mail"
    return "hidden" if folder.hidden and not hidden else None
