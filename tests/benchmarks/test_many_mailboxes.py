"""What an idle mailbox costs does not depend on how many there are, in its short form."""

from benchmarks.many_mailboxes import measure


def test_an_idle_pass_asks_the_index_as_much_among_many_mailboxes_as_among_few() -> None:
    few, many = measure(sizes=(3, 300), rounds=1, run=3)
    assert (few["mailboxes"], many["mailboxes"]) == (3, 300)
    assert many["pass_statements"] == few["pass_statements"] > 10
    assert all(
        each[name] > 0 for each in (few, many) for name in ("pass_cpu_ms", "run_cpu_ms", "tick_cpu_ms")
    )
