"""Which servers a tenant's configuration means."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from pipelines.auth.clouds import CLOUDS, IMAPS_PORT, POP3S_PORT
from pipelines.config import Tenant
from pipelines.config.values import split_host_port


class Resource(StrEnum):
    """What a token is for; one token never serves both."""

    OUTLOOK = "outlook"
    """IMAP and POP3."""
    GRAPH = "graph"


class Server(NamedTuple):
    """Where a mail protocol listens, with TLS from the first byte."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ResolvedEndpoints:
    """Every server of one tenant, whether from its cloud or from the configuration."""

    authority: str
    """Token service with the tenant: ``https://host[:port]/<tenant>``."""
    graph: str
    """Graph's root with its version, no slash at the end."""
    imap: Server
    pop3: Server
    ca_file: Path | None
    """PEM certificates trusted instead of the system's, for all of them."""
    scopes: dict[Resource, str]
    """What to ask a token for: ``https://…/.default``."""


def resolve(tenant: Tenant) -> ResolvedEndpoints:
    """The cloud's servers with the tenant's own ``endpoints`` in front.

    Tokens are always asked for the cloud's resources: a proxy or a sandbox stands in for
    a server, it is not a resource of its own.
    """
    cloud, given = CLOUDS[tenant.cloud], tenant.endpoints
    return ResolvedEndpoints(
        authority=f"{given.authority or cloud.authority}/{tenant.id}",
        graph=given.graph or f"{cloud.graph}/v1.0",
        imap=Server(*split_host_port(given.imap)) if given.imap else Server(cloud.mail_host, IMAPS_PORT),
        pop3=Server(*split_host_port(given.pop3)) if given.pop3 else Server(cloud.mail_host, POP3S_PORT),
        ca_file=given.ca_file,
        scopes={
            Resource.OUTLOOK: f"{cloud.outlook}/.default",
            Resource.GRAPH: f"{cloud.graph}/.default",
        },
    )
