"""What the access functions of a domain mean for media nodes: from stored arguments to the rules that are enforced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, cast

from headwater.access.policy import Access, AgentRule, Answers, IpRule, RefererRule, RegionRule, RemoteAuth
from headwater.domains.function_table import REMOTE_TIMEOUT_MAX_MS, split
from headwater.domains.functions import Args, FunctionSetting

TLS_VERSIONS: Final = {"tls12": "TLSv1.2", "tls13": "TLSv1.3"}
"""The versions that we speak, by the names of `https_tls_version` and of OpenSSL."""

HSTS_DEFAULT_S: Final = 31_536_000
"""A year, where https_hsts_max_age is not given."""


def access(functions: Mapping[str, Args]) -> Access:
    """Who may come. functions: those of a domain by name, checked when they were stored."""
    args = {name: dict(values) for name, values in functions.items()}
    denied = list(split(args.get("headwater_access", {}).get("protocols_denied", "")))
    if args.get("websocket", {}).get("enabled") == "off":
        denied.append("ws-flv")
    return Access(
        ip=_ip(args),
        referer=_referer(args),
        agent=_agent(args),
        region=_region(args),
        remote=_remote(args),
        scheme=_scheme(args),
        denied_protocols=tuple(dict.fromkeys(denied)),
        tls_versions=_tls(args),
        ipv6=args.get("ipv6", {}).get("switch") != "off",
    )


def answers(settings: Sequence[FunctionSetting]) -> Answers:
    """How a streaming domain answers over HTTP."""
    headers: list[tuple[str, str | None]] = []
    pages: list[tuple[int, str]] = []
    hsts, gzip = "", True
    for setting in settings:
        values = dict(setting.args)
        match setting.name:
            case "set_resp_header":
                headers.append((values["key"], None if values["value"] == "null" else values["value"]))
            case "error_page":
                pages.append((int(values["error_code"]), values["rewrite_page"]))
            case "gzip":
                gzip = values["enable"] == "on"
            case "HSTS" if values["enabled"] == "on":
                hsts = f"max-age={values.get('https_hsts_max_age') or HSTS_DEFAULT_S}"
                hsts += "; includeSubDomains" if values.get("https_hsts_include_subdomains") == "on" else ""
    return Answers(headers=tuple(headers), hsts=hsts, gzip=gzip, error_pages=tuple(pages))


def _ip(args: Mapping[str, Mapping[str, str]]) -> IpRule | None:
    for name, allow in (("ip_allow_list_set", True), ("ip_black_list_set", False)):
        if name in args:
            values = args[name]
            return IpRule(
                networks=tuple(split(values["ip_list"])),
                allow=allow,
                status=int(values.get("customize_response_status_code") or 403),
                forwarded=cast(Literal["on", "off", "all"], values.get("ip_acl_xfwd") or "on"),
            )
    return None


def _referer(args: Mapping[str, Mapping[str, str]]) -> RefererRule | None:
    for name, argument, allow in (
        ("referer_white_list_set", "refer_domain_allow_list", True),
        ("referer_black_list_set", "refer_domain_deny_list", False),
    ):
        if name in args:
            pages = split(args[name][argument])
            return RefererRule(tuple(_without_port(page) for page in pages), allow, args[name].get("allow_empty") != "off")
    return None


def _without_port(page: str) -> str:
    """Pages are told apart by host, as in the Referer lists of the service."""
    scheme, mark, host = page.rpartition("://")
    return scheme + mark + host.partition(":")[0]


def _agent(args: Mapping[str, Mapping[str, str]]) -> AgentRule | None:
    values = args.get("ali_ua")
    return None if values is None else AgentRule(tuple(split(values["ua"], "|")), values["type"] == "white")


def _region(args: Mapping[str, Mapping[str, str]]) -> RegionRule | None:
    values = args.get("headwater_access", {})
    for argument, allow in (("regions_allowed", True), ("regions_denied", False)):
        if values.get(argument):
            return RegionRule(tuple(split(values[argument])), allow)
    return None


def _scheme(args: Mapping[str, Mapping[str, str]]) -> Literal["http", "https"] | None:
    schemes: tuple[Literal["http", "https"], ...] = ("https", "http")
    return next((scheme for scheme in schemes if args.get(f"{scheme}_force", {}).get("enable") == "on"), None)


def _tls(args: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    values = args.get("https_tls_version")
    if values is None:
        return ()
    return tuple(version for name, version in TLS_VERSIONS.items() if values.get(name) != "off")


def _remote(args: Mapping[str, Mapping[str, str]]) -> RemoteAuth | None:
    values = args.get("cdn_remote_auth", {})
    if values.get("enable") != "on":
        return None
    types = _names(values.get("remote_auth_type", ""))
    return RemoteAuth(
        url=values["remote_auth_addr"],
        method=cast(Literal["GET", "POST", "HEAD"], (values.get("remote_auth_method") or "get").upper()),
        types=tuple(name.lower() for name in types if name != "all"),
        kept_args=_kept(values.get("remote_auth_reserve_args", "")),
        added_args=_pairs(values.get("remote_auth_custom_args", ""), "="),
        kept_headers=_kept(values.get("remote_auth_reserve_header", "")),
        added_headers=_pairs(values.get("remote_auth_custom_header", ""), ":"),
        success=tuple(int(code) for code in split(values.get("remote_auth_success_code") or "200")),
        fail=tuple(int(code) for code in split(values.get("remote_auth_fail_code") or "403")),
        others_pass=values.get("remote_auth_other_code_act") != "reject",
        timeout_passes=values.get("remote_auth_timeout_action") != "reject",
        refused_status=int(values.get("remote_auth_fail_resp_code") or 403),
        timeout_s=int(values.get("remote_auth_timeout") or REMOTE_TIMEOUT_MAX_MS) / 1000,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(split(text.replace(",", "|"), "|"))


def _kept(text: str) -> tuple[str, ...] | None:
    """`all`, or nothing said, keeps everything; `ali_delete_all_args` and the like keep nothing."""
    names = _names(text)
    if not names or names == ("all",):
        return None
    return () if names[0].startswith("ali_delete_all") else names


def _pairs(text: str, mark: str) -> tuple[tuple[str, str], ...]:
    """`name=value|name=value`; a header has a colon."""
    pairs = (pair.partition(mark) for pair in split(text, "|"))
    return tuple((name.strip(), value.strip()) for name, _, value in pairs if name.strip())
