"""When a fault is committed, and when the tenant behaves."""

from pipelines.sandbox.faults import Door, Fault, FaultKind, Faults

KIM = "kim.akers@contoso.com"


def test_a_fault_is_committed_only_where_it_was_asked_for() -> None:
    faults = Faults()
    fault = Fault(FaultKind.DROP, Door.IMAP, mailbox="Kim.Akers@contoso.com", command="fetch", uid=3)
    faults.add(fault)
    assert faults.match(Door.IMAP, "FETCH", KIM, 3) is fault
    assert faults.match(Door.POP3, "FETCH", KIM, 3) is None
    assert faults.match(Door.IMAP, "SELECT", KIM, 3) is None
    assert faults.match(Door.IMAP, "FETCH", "alex.wilber@contoso.com", 3) is None
    assert faults.match(Door.IMAP, "FETCH", None, 3) is None
    assert faults.match(Door.IMAP, "FETCH", KIM, 4) is None


def test_a_fault_is_committed_as_often_as_told_and_then_the_next_one() -> None:
    faults = Faults()
    twice, always = Fault(FaultKind.EMPTY, Door.IMAP, times=2), Fault(FaultKind.DELAY, Door.IMAP)
    faults.add(twice)
    faults.add(always)
    assert [faults.match(Door.IMAP, "NOOP") for _ in range(4)] == [twice, twice, always, always]
    assert faults.clear() == 4
    assert faults.match(Door.IMAP, "NOOP") is None
    assert faults.clear() == 0


def test_chance_repeats_with_its_seed() -> None:
    def history(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(FaultKind.THROTTLE, Door.GRAPH, probability=0.3))
        return [faults.match(Door.GRAPH, "messages") is not None for _ in range(200)]

    assert history(1) == history(1) != history(2)
    assert 30 < sum(history(1)) < 90


def test_every_request_is_counted_with_and_without_a_fault() -> None:
    faults = Faults()
    faults.match(Door.IMAP, "examine")
    faults.add(Fault(FaultKind.DELAY, Door.IMAP))
    faults.match(Door.IMAP, "EXAMINE")
    assert faults.asked() == {"entra": {}, "imap": {"EXAMINE": 2}, "pop3": {}, "graph": {}}
