"""Text as PostgreSQL's full-text types, cut into words as SQLite's index cuts it.

PostgreSQL's own parser keeps addresses and host names whole and depends on the
database's locale; FTS5's ``unicode61 remove_diacritics 2`` does neither. So the words are
found here: runs of letters and digits, in lower case, accents taken off Latin letters.
"""

import re
import unicodedata
from collections.abc import Iterator

_WORD = re.compile(r"[^\W_]+")
_ACCENTS = re.compile("[\u0300-\u036f]+")
_BARE = {
    chr(code): unicodedata.normalize("NFD", chr(code))[0]
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00))
    if unicodedata.normalize("NFD", chr(code))[0].isascii()
} | dict(zip("µςſϐϑϕϖϰϱϵẛ", "μσsβθφπκρεs", strict=True))
"""Latin letters without their accents, and letters that are another form of a letter."""
_NOT_BARE = re.compile(f"[{''.join(_BARE)}]")
_LETTERS = 500
"""PostgreSQL refuses a word of more than 2,046 bytes: longer ones are known by their beginnings."""
_PLACES = 16_383
_BYTES = 1_000_000
"""A tsvector has to end before 2**20 bytes, the places of its words included (two bytes each)."""
_BESIDE = 6
"""Bytes for each word beside its letters."""
_SURELY_SHORT = 150_000
"""So many letters never make that many bytes, whatever the words."""


def words_of(text: str) -> list[str]:
    """The text's words in order."""
    text = text.lower()
    if not text.isascii():
        for letter in set(_NOT_BARE.findall(text)):
            text = text.replace(letter, _BARE[letter])
        text = _ACCENTS.sub("", text)
    return [word[:_LETTERS] for word in _WORD.findall(text)]


def vector(text: str) -> str:
    """The text as a ``tsvector`` literal: each word with its place.

    Of a text with more than a million bytes of different words, those that come first.
    PostgreSQL itself keeps 256 places of a word, and none beyond the 16,383rd.
    """
    words = words_of(text)
    if len(text) > _SURELY_SHORT:
        return " ".join(_fitting(words))
    return " ".join([f"{word}:{place}" for place, word in enumerate(words, 1)])


def phrase(value: str, *, begins: bool) -> str:
    """A ``tsquery`` literal for these words one after the other; the last one's beginning, if ``begins``."""
    words = words_of(value)
    return " <-> ".join(words) + (":*" if begins and words else "")


def _fitting(words: list[str]) -> Iterator[str]:
    room, kept = _BYTES, set[str]()
    for place, word in enumerate(words, 1):
        if word not in kept:
            room -= len(word.encode()) + _BESIDE
            if room < 0:
                return
            kept.add(word)
        elif place > _PLACES:
            continue
        yield f"{word}:{place}"
