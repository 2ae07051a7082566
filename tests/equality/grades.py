"""How alike two protocols deliver each message: exact, canonical, weak, or not at all."""

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum

from tests.equality.letters import Letter
from tests.equality.reading import Stored
from tests.equality.standard import told_by_standard


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


def shared_keys(keyed: Iterable[tuple[str, Letter]]) -> list[list[Letter]]:
    """Different messages that have one message key: one letter of each, key by key."""
    by_key: dict[str, list[Letter]] = defaultdict(list)
    for key, letter in keyed:
        by_key[key].append(letter)
    told_apart = [_told_apart(letters) for letters in by_key.values() if len(letters) > 1]
    return [letters for letters in told_apart if len(letters) > 1]


def _told_apart(letters: Iterable[Letter]) -> list[Letter]:
    """One letter of each message.

    Letters are one message where the standard library tells the same of them, or where the corpus
    calls them copies or variants of one.
    """
    messages: list[tuple[set[object], Letter]] = []
    for letter in {each.mime: each for each in letters}.values():
        names = {told_by_standard(letter.mime), letter.group}
        same = [each for each in messages if each[0] & names]
        messages = [each for each in messages if each not in same]
        messages.append((names.union(*(each for each, _ in same)), letter))
    return [letter for _, letter in messages]
