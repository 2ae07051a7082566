"""Which folders a rule selects."""

from typing import NamedTuple

import pytest

from pipelines.config import FolderRules
from pipelines.config.folders import ROLES
from pipelines.sources.base import Folder, Role


class _Case(NamedTuple):
    rules: FolderRules
    path: str
    role: str
    selected: bool


@pytest.mark.parametrize(
    "case",
    [
        _Case(FolderRules(), "Projects", "other", True),
        _Case(FolderRules(include=("Projects",)), "PROJECTS", "other", True),
        _Case(FolderRules(include=("Projects",)), "Projects/2024/May", "other", True),
        _Case(FolderRules(include=("Projects",)), "Projects 2024", "other", False),
        _Case(FolderRules(include=("Projects/2024",)), "Projects", "other", False),
        _Case(FolderRules(include=("inbox",)), "Inbox", "inbox", True),
        _Case(FolderRules(exclude=("junk",)), "Courrier indésirable", "junk", False),
        _Case(FolderRules(exclude=("Junk",)), "Unerwünscht", "junk", False),
        _Case(FolderRules(exclude=("other",)), "Projects", "other", True),
        _Case(FolderRules(exclude=("Entwu\u0308rfe",)), "Entw\u00fcrfe", "drafts", False),
        _Case(
            FolderRules(include=("Projects",), exclude=("Projects/Old",)), "Projects/Old/2019", "other", False
        ),
        _Case(FolderRules(include=("Projects",), exclude=("Projects/Old",)), "Projects/New", "other", True),
    ],
)
def test_a_rule_covers_a_folder_and_all_below_it_in_any_case(case: _Case) -> None:
    assert case.rules.selects(case.path, case.role) is case.selected


def test_a_rule_by_role_covers_the_folders_below_that_role() -> None:
    folders = [
        Folder("Inbox", Role.INBOX, "1"),
        Folder("Gelöschte Elemente", Role.TRASH, "2"),
        Folder("Gelöschte Elemente/Alt", Role.OTHER, "3"),
        Folder("Gelöschte Elemente/Alt/2019", Role.OTHER, "4"),
    ]
    assert FolderRules(exclude=("trash",)).select(folders) == folders[:1]
    assert FolderRules(include=("trash",)).select(folders) == folders[1:]


def test_the_roles_that_rules_name_are_those_of_the_sources() -> None:
    assert {*ROLES, "other"} == {str(role) for role in Role}
