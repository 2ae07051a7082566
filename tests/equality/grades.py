"""How alike two protocols deliver each message: exact, canonical, weak, or not at all."""

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum

from tests.equality.letters import Letter
from tests.equality.reading import Stored


class Match(StrEnum):
    """The grades of docs/mime.md."""

    EXACT = "exact"
    CANONICAL = "canonical"
    WEAK = "weak"
    NONE = "none"


def match(one: Stored | None, other: Stored | None) -> Match:
    """How alike two deliveries of one message are; None: not delivered."""
    if one is None or other is None:
        return Match.NONE
    if one.raw_sha256 == other.raw_sha256:
        return Match.EXACT
    if one.message_key == other.message_key:
        return Match.CANONICAL
    return Match.WEAK if one.header_key and one.header_key == other.header_key else Match.NONE


def shared_keys(keyed: Iterable[tuple[str, Letter]]) -> dict[str, list[Letter]]:
    """Letters that have one message key though they are not known for one message, by that key."""
    by_key: dict[str, list[Letter]] = defaultdict(list)
    for key, letter in keyed:
        by_key[key].append(letter)
    return {key: found for key, found in by_key.items() if not _known_as_one(found)}


def _known_as_one(letters: list[Letter]) -> bool:
    """Whether all are of one group, and no two from one file."""
    contents = {(each.name, each.mime) for each in letters}
    return len({each.group for each in letters}) == 1 and len({name for name, _ in contents}) == len(contents)
