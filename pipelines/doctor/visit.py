"""The whole visit, from the file to the mailboxes; each part only as far as those before it carry."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from typing import TypeVar

from pipelines.auth import TokenProvider, resolve
from pipelines.clock import Clock
from pipelines.config import Config, MailboxConfig
from pipelines.doctor.attempts import Attempt, attempt
from pipelines.doctor.configuration import CA_FILE, CREDENTIAL, check_configuration, check_index
from pipelines.doctor.connections import TLS, check_connection, endpoints_in_use
from pipelines.doctor.coverage import LABELS, describe_unreachable
from pipelines.doctor.findings import Area, Check, Finding, Report, State
from pipelines.doctor.mailboxes import OPEN, advise, identify, judge, judge_denied
from pipelines.doctor.signin import SignIn, check_authority, not_signed_in, sign_in
from pipelines.sources.base import ProtocolName

Progress = Callable[[str, int, int], None]
"""Told what is being tried, how many of its parts are done, and of how many."""
_AREAS = list(Area)
T = TypeVar("T")
R = TypeVar("R")


def examine(
    config: Config,
    mailboxes: Sequence[MailboxConfig],
    clock: Clock,
    *,
    must_deny: Sequence[MailboxConfig] = (),
    progress: Progress = lambda _what, _done, _of: None,
) -> Report:
    """Try all that ingesting ``mailboxes`` needs, and that ``must_deny`` cannot be opened.

    Each mailbox is tried over its legacy protocol and over Graph, ``ingest.concurrency`` attempts
    at a time. Nothing is changed and no message is fetched. What fails is a finding, never an error.
    """
    protocols = [ProtocolName(each) for each in sorted({box.legacy for box in mailboxes if box.legacy})]
    protocols.append(ProtocolName.GRAPH)
    findings = list(check_configuration(config, clock))
    index, on_graph = check_index(config)
    with closing(TokenProvider(config.tenant, clock)) as tokens:
        connected, down = _connect(config, protocols, findings, clock, progress)
        signed_in = _sign_in(config, tokens, protocols, [*findings, *connected], down, clock, progress)
        open_doors = [each for each in protocols if each not in signed_in.blocked]
        wanted = [(box, each) for box in mailboxes for each in open_doors if each in (box.legacy, "graph")]
        unwanted = [(box, each) for box in must_deny for each in open_doors]
        attempts = _try(config, [*wanted, *unwanted], tokens, clock, progress)
    tried, denied = attempts[: len(wanted)], attempts[len(wanted) :]
    identity = identify(config.tenant, signed_in)
    findings += [
        index,
        *connected,
        *signed_in.findings,
        *_not_tried(signed_in),
        *judge(tried, identity, on_graph),
        *judge_denied(denied, identity),
        *advise(mailboxes),
        *(describe_unreachable(each) for each in protocols),
    ]
    findings.sort(key=lambda finding: _AREAS.index(finding.area))
    return Report(tuple(findings), tuple(each.coverage for each in tried if each.coverage))


def _connect(
    config: Config,
    protocols: Collection[ProtocolName],
    before: Iterable[Finding],
    clock: Clock,
    progress: Progress,
) -> tuple[list[Finding], dict[str, str]]:
    """Look at every server at once; which of them are down, and why."""
    servers = resolve(config.tenant)
    endpoints = endpoints_in_use(servers, protocols)
    if _failed(CA_FILE, before):
        why = "tenant.endpoints.ca_file cannot be read"
        return [TLS.skipped("every server", why)], {endpoint.name: why for endpoint in endpoints}
    looks = _side_by_side(
        lambda endpoint: list(check_connection(endpoint, servers.ca_file, clock)), endpoints, len(endpoints)
    )
    found: dict[int, list[Finding]] = {}
    for place, findings in looks:
        found[place] = findings
        progress("the connections", len(found), len(endpoints))
    down = {
        endpoint.name: f"{endpoint.url} cannot be reached"
        for place, endpoint in enumerate(endpoints)
        if found[place][0].state is State.FAILURE
    }
    return [finding for place in sorted(found) for finding in found[place]], down


def _sign_in(
    config: Config,
    tokens: TokenProvider,
    protocols: Collection[ProtocolName],
    before: Iterable[Finding],
    down: dict[str, str],
    clock: Clock,
    progress: Progress,
) -> SignIn:
    progress("the sign-in", 0, 1)
    if "authority" in down:
        return not_signed_in(protocols, down["authority"])
    authority = check_authority(config.tenant, tokens, clock)
    if authority.state is State.FAILURE:
        outcome = not_signed_in(protocols, "the tenant is not there")
    elif _failed(CREDENTIAL, before):
        outcome = not_signed_in(protocols, "the credential cannot serve")
    else:
        outcome = sign_in(config.tenant, tokens, protocols, clock)
    outcome.findings.insert(0, authority)
    outcome.blocked |= {ProtocolName(name): why for name, why in down.items()}
    return outcome


def _failed(check: Check, findings: Iterable[Finding]) -> bool:
    return any(each.check == check.name and each.state is State.FAILURE for each in findings)


def _try(
    config: Config,
    pairs: Sequence[tuple[MailboxConfig, ProtocolName]],
    tokens: TokenProvider,
    clock: Clock,
    progress: Progress,
) -> list[Attempt]:
    made: dict[int, Attempt] = {}
    progress("the mailboxes", 0, len(pairs))
    for place, outcome in _side_by_side(
        lambda pair: attempt(config, *pair, tokens, clock), pairs, config.ingest.concurrency
    ):
        made[place] = outcome
        progress("the mailboxes", len(made), len(pairs))
    return [made[place] for place in range(len(pairs))]


def _not_tried(signed_in: SignIn) -> Iterator[Finding]:
    for protocol, why in signed_in.blocked.items():
        yield OPEN[protocol].skipped(f"over {LABELS[protocol]}", f"no mailbox was tried: {why}")


def _side_by_side(work: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[tuple[int, R]]:
    """Places and results as they come; an interruption does not wait for those under way."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="doctor")
    try:
        places = {pool.submit(work, item): place for place, item in enumerate(items)}
        for future in as_completed(places):
            yield places[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
