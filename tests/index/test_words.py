"""Words for PostgreSQL's full text: those that SQLite's index would have, within a tsvector's limits."""

import sqlite3
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.index.words import phrase, vector, words_of

LETTERS = st.sampled_from(
    [
        chr(code)
        for code in (*range(1, 0x1E0), *range(0x386, 0x460), *range(0x4E00, 0x4E20))
        if unicodedata.category(chr(code)) != "Cn"
    ]
)
"""Latin, Greek, Cyrillic, Chinese; not what SQLite's older Unicode does not have yet."""


@pytest.fixture(scope="module")
def fts5() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE texts USING fts5(body, content='', tokenize='unicode61 remove_diacritics 2')"
    )
    connection.execute("CREATE VIRTUAL TABLE words USING fts5vocab(texts, 'instance')")
    yield connection
    connection.close()


def words_of_fts5(connection: sqlite3.Connection, text: str) -> list[str]:
    connection.execute("INSERT INTO texts(rowid, body) VALUES (1, ?)", [text])
    rows = connection.execute("SELECT term FROM words ORDER BY offset").fetchall()
    connection.execute("INSERT INTO texts(texts) VALUES ('delete-all')")
    return [word for (word,) in rows]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Figures, quarterly? Not yet.", ["figures", "quarterly", "not", "yet"]),
        ("megan.bowen@contoso.com", ["megan", "bowen", "contoso", "com"]),
        ("http://intranet/a_plan-2", ["http", "intranet", "a", "plan", "2"]),
        ("Zoë Müller, ÜBERRASCHUNG", ["zoe", "muller", "uberraschung"]),
        ("Zoe\u0308 Андреи\u0306", ["zoe", "андреи"]),
        ("Straße, Ærø, Łódź", ["straße", "ærø", "łodz"]),
        ("Виктор Цой; Γιώργος", ["виктор", "цой", "γιώργοσ"]),
        ("会議の資料", ["会議の資料"]),
        ("1e5 -3.14 10%", ["1e5", "3", "14", "10"]),
        ("a\0b", ["a", "b"]),
    ],
)
def test_words_are_those_of_sqlite(fts5: sqlite3.Connection, text: str, words: list[str]) -> None:
    assert words_of(text) == words == words_of_fts5(fts5, text)


@given(text=st.text(LETTERS, max_size=30))
def test_the_words_of_any_text_are_those_of_sqlite(fts5: sqlite3.Connection, text: str) -> None:
    assert words_of(text) == words_of_fts5(fts5, text)


def test_a_vector_tells_where_its_words_are() -> None:
    assert vector("To be or not to be") == "to:1 be:2 or:3 not:4 to:5 be:6"


def test_a_phrase_is_its_words_one_after_the_other() -> None:
    assert phrase("Quarterly, figures", begins=False) == "quarterly <-> figures"
    assert phrase("megan@con", begins=True) == "megan <-> con:*"
    assert phrase("...", begins=True) == ""
