"""Signing in: which servers, which token, what it says, how it is handed over."""

from pipelines.auth.claims import Claims, check_claims, describe_claims
from pipelines.auth.endpoints import ResolvedEndpoints, Resource, Server, resolve
from pipelines.auth.sasl import xoauth2
from pipelines.auth.tokens import TokenProvider
from pipelines.auth.transport import causes, trust

__all__ = [
    "Claims",
    "ResolvedEndpoints",
    "Resource",
    "Server",
    "TokenProvider",
    "causes",
    "check_claims",
    "describe_claims",
    "resolve",
    "trust",
    "xoauth2",
]
