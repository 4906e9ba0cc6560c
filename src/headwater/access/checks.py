"""The access functions of one domain, compiled for quick answers: addresses, regions, pages, user agents, protocols."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from headwater.access.addresses import AddressSet
from headwater.access.client import Client
from headwater.access.patterns import Patterns
from headwater.access.places import Place
from headwater.access.policy import Access, AgentRule, IpRule, RefererRule, RegionRule
from headwater.access.refusal import Refusal, refuse
from headwater.access.regions import RegionSet

Locate = Callable[[str], Place]
"""Where an address is."""


Check = Callable[[Client], Refusal | None]
"""Why a client may not come; None if nothing speaks against it."""


class Checks:
    """All access functions of a domain; made once for each policy and asked for each join."""

    def __init__(self, access: Access, locate: Locate) -> None:
        self._access = access
        self._denied_protocols = frozenset(access.denied_protocols)
        self._rules: list[Check] = []
        if access.ip is not None:
            self._rules.append(_ip_check(access.ip))
        if access.region is not None:
            self._rules.append(region_check(access.region, locate))
        if access.referer is not None:
            self._rules.append(_referer_check(access.referer))
        if access.agent is not None:
            self._rules.append(_agent_check(access.agent))

    def judge(self, client: Client) -> Refusal | None:
        """None if nothing speaks against this client."""
        access = self._access
        if access.scheme is not None and client.protocol != "rtmp" and client.secure != (access.scheme == "https"):
            return refuse("https_required" if access.scheme == "https" else "http_required")
        if client.spoken in self._denied_protocols:
            return refuse("protocol_denied")
        if access.tls_versions and client.tls and client.tls not in access.tls_versions:
            return refuse("tls_version_denied")
        if not access.ipv6 and ":" in client.origin:
            return refuse("ip_denied", "denied by ip acl: IPv6 is switched off")
        for rule in self._rules:
            refusal = rule(client)
            if refusal is not None:
                return refusal
        return None


def region_check(rule: RegionRule, locate: Locate) -> Check:
    """A client whose place nobody knows is in no region: a list of refused ones lets it in, a list of allowed ones does not."""
    regions = RegionSet(rule.regions)

    def check(client: Client) -> Refusal | None:
        return None if (locate(client.origin) in regions) == rule.allow else refuse("region_denied")

    return check


def _ip_check(rule: IpRule) -> Check:
    networks = AddressSet(rule.networks)
    denied = refuse("ip_denied", status=rule.status)

    def check(client: Client) -> Refusal | None:
        if rule.forwarded == "off":
            good = (client.ip in networks) == rule.allow
        elif rule.forwarded == "on":
            good = (client.origin in networks) == rule.allow
        else:
            good = all((address in networks) == rule.allow for address in (*client.forwarded, client.ip))
        return None if good else denied

    return check


def _referer_check(rule: RefererRule) -> Check:
    hosts = Patterns(rule.hosts)

    def check(client: Client) -> Refusal | None:
        if not client.referer.strip():
            return None if rule.allow_empty else refuse("referer_denied", "denied by referer acl: no page is named")
        scheme, host = _page(client.referer)
        found = hosts.match(host) or hosts.match(f"{scheme}://{host}")
        return None if found == rule.allow else refuse("referer_denied")

    return check


def _page(referer: str) -> tuple[str, str]:
    """Scheme and host of a page; a Referer without a scheme is taken for a host and a path."""
    referer = referer.strip()
    try:
        parts = urlsplit(referer if "://" in referer else f"//{referer}")
        return parts.scheme, parts.hostname or ""
    except ValueError:
        return "", ""


def _agent_check(rule: AgentRule) -> Check:
    patterns = Patterns(rule.patterns)

    def check(client: Client) -> Refusal | None:
        return None if patterns.match(client.user_agent) == rule.allow else refuse("agent_denied")

    return check
