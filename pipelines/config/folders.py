"""Which folders of a mailbox are read."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import Annotated, Protocol, TypeVar

from pydantic import AfterValidator

from pipelines.config.base import Section
from pipelines.config.values import wrong

ROLES = ("inbox", "sent", "drafts", "trash", "junk", "archive", "outbox")
"""Roles a rule can name: those of ``pipelines.sources.base.Role`` but ``other``, which names no folder."""
_OTHER_WORDS_FOR_ROLES = {
    "deleteditems": "trash",
    "junkemail": "junk",
    "sentitems": "sent",
    "\\all": "archive",
    **{f"\\{role}": role for role in ROLES},
}
"""Graph's well-known names and IMAP's special-use attributes (RFC 6154): not the words used here."""


class FolderLike(Protocol):
    """A folder as far as rules look at it."""

    @property
    def path(self) -> str: ...
    @property
    def role(self) -> str: ...


F = TypeVar("F", bound=FolderLike)


def _rule(value: str) -> str:
    if value in _OTHER_WORDS_FOR_ROLES or value.startswith("\\"):
        remedy = f"roles are {', '.join(ROLES)}; anything else is a folder's path"
        meant = _OTHER_WORDS_FOR_ROLES.get(value.lower())
        raise wrong(
            f"unknown folder role {value}", f"did you mean {meant}? R{remedy[1:]}" if meant else remedy
        )
    if (
        not value.strip()
        or re.search(r"^/|/$|//", value)
        or any(not letter.isprintable() for letter in value)
    ):
        raise wrong(
            f"{value!r} is not a folder's path", "write the names of its levels with / between: Projects/2024"
        )
    return value


Rule = Annotated[str, AfterValidator(_rule)]


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


class FolderRules(Section):
    """Which folders are read: all visible mail folders, unless told otherwise.

    A rule is a folder's path or a role; it covers the folder and all below it, in any
    case of letters. Where both lists name a folder, ``exclude`` decides.
    """

    include: tuple[Rule, ...] = ()
    """Only these, where any are given."""
    exclude: tuple[Rule, ...] = ()
    hidden: bool = False
    """Hidden folders too, where the protocol can show them (Graph)."""

    def selects(self, path: str, role: str, above: Collection[str] = ()) -> bool:
        """Whether the folder at ``path`` with ``role`` is read; ``above``: the roles of its parents."""
        roles = {role, *above} & set(ROLES)
        included = not self.include or _covers(self.include, path, roles)
        return included and not _covers(self.exclude, path, roles)

    def select(self, folders: Iterable[F]) -> list[F]:
        """Those of a mailbox's ``folders`` that are read, in the order given; roles count for sub-folders."""
        everything = list(folders)
        roles = {folder.path: str(folder.role) for folder in everything}
        return [
            folder
            for folder in everything
            if self.selects(
                folder.path, roles[folder.path], [roles.get(path, "other") for path in _parents(folder.path)]
            )
        ]


def _parents(path: str) -> list[str]:
    return [path[: found.start()] for found in re.finditer("/", path)]


def _covers(rules: tuple[str, ...], path: str, roles: set[str]) -> bool:
    folded = _fold(path)
    return any(rule in roles or folded == rule or folded.startswith(f"{rule}/") for rule in map(_fold, rules))
