"""The same mail in, the same message keys and records out, whichever protocol reads it."""

import pytest

from tests.equality.conftest import Delivered
from tests.equality.grades import Match, match, shared_keys
from tests.equality.reading import differing_rows

OTHERS = ("pop3", "graph", "archive")
DOVECOT = ("dovecot-imap", "dovecot-pop3")
MAIL = ("business", pytest.param("real", marks=pytest.mark.corpus))


@pytest.fixture(params=MAIL)
def delivered(request: pytest.FixtureRequest) -> Delivered:
    """The mail of every test below: generated, and real."""
    found: Delivered = request.getfixturevalue(request.param)
    return found


def test_nothing_lost_every_message_is_in_the_lake_of_each_protocol(delivered: Delivered) -> None:
    for protocol in ("imap", *OTHERS, *DOVECOT):
        reading = delivered.read(protocol)
        assert reading.report.total("listed") == len(delivered.sandbox.letters)
        assert len(reading.shown) + len(reading.quarantined) == len(delivered.sandbox.letters)
        assert protocol == "graph" or not reading.quarantined


@pytest.mark.parametrize("protocol", OTHERS)
def test_a_message_has_one_key_and_one_record_whichever_protocol_reads_it(
    delivered: Delivered, protocol: str
) -> None:
    imap, other = delivered.read("imap"), delivered.read(protocol)
    alone = delivered.sandbox.alone(imap)
    assert [alone[key].name for key in differing_rows(imap, other, alone)] == []


@pytest.mark.parametrize("server", DOVECOT)
def test_another_server_makes_no_difference(delivered: Delivered, server: str) -> None:
    imap, other = delivered.read("imap"), delivered.read(server)
    # Dovecot replaces a NUL by another octet.
    alone = {key: letter for key, letter in delivered.sandbox.alone(imap).items() if b"\0" not in letter.mime}
    assert [alone[key].name for key in differing_rows(imap, other, alone)] == []


def test_a_message_lies_where_and_was_received_when_both_protocols_say(business: Delivered) -> None:
    imap, graph = business.read("imap"), business.read("graph")
    for key, row in imap.rows.items():
        for column in ("received_at", "folders", "flags"):
            assert graph.rows[key][column] == row[column]


def test_what_graph_makes_anew_is_the_same_message(delivered: Delivered) -> None:
    imap, graph = delivered.read("imap"), delivered.read("graph")
    odd = {}
    for letter, legacy_id, graph_id in delivered.sandbox.ids(imap):
        found = match(imap.shown[legacy_id], graph.shown.get(graph_id))
        if found not in (Match.EXACT, Match.CANONICAL) and graph_id not in graph.quarantined:
            odd[letter.name] = found
    assert odd == {}
    assert len(graph.quarantined) < 0.01 * len(delivered.sandbox.letters)


def test_two_that_differ_never_share_a_key(delivered: Delivered) -> None:
    imap = delivered.read("imap")
    keyed = [
        (imap.shown[legacy_id].message_key, letter) for letter, legacy_id, _ in delivered.sandbox.ids(imap)
    ]
    assert shared_keys(keyed) == []
