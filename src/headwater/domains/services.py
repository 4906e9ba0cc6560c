"""The services of the domain product, gathered for those who call them: API, console and commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from headwater.cluster.interface import Cluster
from headwater.domains.accounts import AccountService
from headwater.domains.service import DomainService
from headwater.domains.streams import StreamService
from headwater.domains.usage import UsageService
from headwater.settings import Settings
from headwater.store.database import Database


@dataclass(frozen=True)
class Services:
    """The rooms that do the work."""

    accounts: AccountService
    domains: DomainService
    streams: StreamService
    usage: UsageService


def build(database: Database, cluster: Cluster, settings: Settings, clock: Callable[[], float] = time.time) -> Services:
    """All services over one database and one store."""
    domains = DomainService(database, cluster, settings.domains, clock)
    return Services(
        accounts=AccountService(database, clock),
        domains=domains,
        streams=StreamService(database, cluster, domains.publisher, clock),
        usage=UsageService(database, settings.usage, clock),
    )
