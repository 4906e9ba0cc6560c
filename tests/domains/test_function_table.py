"""Promises about the arguments of domain functions: one row for each rule, what is good and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.access.policy import Access, AgentRule, Answers, IpRule, RefererRule, RegionRule, RemoteAuth
from headwater.domains import access_functions, functions
from headwater.domains.errors import DomainError
from headwater.domains.function_table import KNOWN, MARKERS, markdown
from headwater.domains.functions import FunctionSetting

MANUAL = Path(__file__).parents[2] / "docs" / "domain-functions.md"

GOOD: list[tuple[str, dict[str, str]]] = [
    (
        "referer_white_list_set",
        {"refer_domain_allow_list": "a.test,*.a.test, https://b.test:80", "allow_empty": "on"},
    ),
    ("referer_black_list_set", {"refer_domain_deny_list": "*", "allow_empty": "off"}),
    ("ip_allow_list_set", {"ip_list": "192.0.2.1,198.51.100.7/24,2001:db8::/32,::1"}),
    ("ip_black_list_set", {"ip_list": "0.0.0.0/0", "customize_response_status_code": "451", "ip_acl_xfwd": "all"}),
    ("ip_white_list_set", {"ip_list": "192.0.2.1"}),
    ("ali_ua", {"ua": "*curl*|wget", "type": "white"}),
    ("https_force", {"enable": "on"}),
    ("http_force", {"enable": "off"}),
    ("https_tls_version", {"tls10": "off", "tls11": "off", "tls12": "on", "tls13": "on"}),
    ("https_option", {"http2": "on", "ocsp_stapling": "off"}),
    ("HSTS", {"enabled": "on", "https_hsts_max_age": "5184000", "https_hsts_include_subdomains": "on"}),
    ("websocket", {"enabled": "off"}),
    ("ipv6", {"switch": "on", "region": "*"}),
    ("set_resp_header", {"key": "Access-Control-Allow-Origin", "value": "*"}),
    ("set_resp_header", {"key": "X-Powered-By", "value": "null"}),
    ("gzip", {"enable": "on"}),
    ("error_page", {"error_code": "404", "rewrite_page": "https://a.test/404.html"}),
    ("filetype_based_ttl_set", {"ttl": "99999999", "file_type": "ts,m3u8", "weight": "99"}),
    ("path_based_ttl_set", {"ttl": "1", "path": "/live/", "weight": "1"}),
    ("oss_auth", {"oss_bucket_id": "bucket"}),
    ("set_req_host_header", {"domain_name": "origin.example.com"}),
    ("set_hashkey_args", {"hashkey_args": "a,b", "disable": "on"}),
    ("cdn_remote_auth", {"enable": "on", "remote_auth_addr": "https://auth.test/x?y=1", "remote_auth_timeout": "3000"}),
    ("cdn_remote_auth", {"enable": "off"}),
    ("headwater_access", {"protocols_denied": "rtmp, hls", "regions_allowed": "CN,EU,SAU"}),
    ("limit_rate", {"ali_limit_rate": "200", "whatever": "<>"}),
    ("a_function_of_tomorrow", {"anything": "goes"}),
]

BAD: list[tuple[str, dict[str, str], str]] = [
    ("referer_white_list_set", {}, "refer_domain_allow_list"),
    ("referer_white_list_set", {"refer_domain_allow_list": " , "}, "refer_domain_allow_list"),
    ("referer_white_list_set", {"refer_domain_allow_list": "a b"}, "refer_domain_allow_list"),
    ("referer_white_list_set", {"refer_domain_allow_list": "ftp://a.test"}, "refer_domain_allow_list"),
    ("referer_white_list_set", {"refer_domain_allow_list": "https://a.test/path"}, "refer_domain_allow_list"),
    ("referer_white_list_set", {"refer_domain_allow_list": "a.test", "allow_empty": "yes"}, "allow_empty"),
    ("referer_black_list_set", {"refer_domain_allow_list": "a.test"}, "refer_domain_deny_list"),
    ("ip_allow_list_set", {"ip_list": ""}, "ip_list"),
    ("ip_allow_list_set", {"ip_list": "192.0.2.1,example.com"}, "ip_list"),
    ("ip_allow_list_set", {"ip_list": "192.0.2.0/33"}, "ip_list"),
    ("ip_allow_list_set", {"ip_list": "192.0.2.256"}, "ip_list"),
    ("ip_allow_list_set", {"ip_list": "1.2.3"}, "ip_list"),
    ("ip_black_list_set", {"ip_list": "::1", "customize_response_status_code": "200"}, "customize_response_status_code"),
    ("ip_black_list_set", {"ip_list": "::1", "ip_acl_xfwd": "maybe"}, "ip_acl_xfwd"),
    ("ip_black_list_set", {"ip_list": ",".join(["192.0.2.1"] * 10_001)}, "ip_list"),
    ("ali_ua", {"ua": "|", "type": "black"}, "ua"),
    ("ali_ua", {"ua": "a\r\nb", "type": "black"}, "ua"),
    ("ali_ua", {"ua": "a"}, "type"),
    ("ali_ua", {"ua": "a", "type": "grey"}, "type"),
    ("https_force", {}, "enable"),
    ("http_force", {"enable": "true"}, "enable"),
    ("https_tls_version", {"tls12": "1"}, "tls12"),
    ("https_tls_version", {"tls12": "off", "tls13": "off"}, "tls12"),
    ("HSTS", {"enabled": "on", "https_hsts_max_age": "-1"}, "https_hsts_max_age"),
    ("set_resp_header", {"key": "X A", "value": "1"}, "key"),
    ("set_resp_header", {"key": "X-A", "value": "1\r\nSet-Cookie: a=b"}, "value"),
    ("set_resp_header", {"key": "X-A", "value": ""}, "value"),
    ("set_resp_header", {"key": "Content-Length", "value": "0"}, "key"),
    ("set_resp_header", {"key": "transfer-encoding", "value": "null"}, "key"),
    ("error_page", {"error_code": "200", "rewrite_page": "https://a.test/"}, "error_code"),
    ("error_page", {"error_code": "404", "rewrite_page": "javascript:alert(1)"}, "rewrite_page"),
    ("error_page", {"error_code": "404", "rewrite_page": "https://a.test/\r\nX: y"}, "rewrite_page"),
    ("filetype_based_ttl_set", {"ttl": "0", "file_type": "ts"}, "ttl"),
    ("filetype_based_ttl_set", {"ttl": "100000000", "file_type": "ts"}, "ttl"),
    ("filetype_based_ttl_set", {"ttl": "1", "file_type": "ts", "weight": "100"}, "weight"),
    ("path_based_ttl_set", {"ttl": "1", "path": "live/"}, "path"),
    ("set_req_host_header", {"domain_name": "not a host"}, "domain_name"),
    ("set_hashkey_args", {"disable": "yes"}, "disable"),
    ("websocket", {}, "enabled"),
    ("ipv6", {"switch": "maybe"}, "switch"),
    ("cdn_remote_auth", {"enable": "on"}, "remote_auth_addr"),
    ("cdn_remote_auth", {"enable": "on", "remote_auth_addr": "file:///etc/passwd"}, "remote_auth_addr"),
    ("cdn_remote_auth", {"enable": "on", "remote_auth_addr": "http://user:word@a.test/"}, "remote_auth_addr"),
    ("cdn_remote_auth", {"enable": "on", "remote_auth_addr": "http://a.test:99999/"}, "remote_auth_addr"),
    (
        "cdn_remote_auth",
        {"enable": "on", "remote_auth_addr": "http://a", "remote_auth_timeout": "3001"},
        "remote_auth_timeout",
    ),
    (
        "cdn_remote_auth",
        {"enable": "on", "remote_auth_addr": "http://a", "remote_auth_method": "put"},
        "remote_auth_method",
    ),
    (
        "cdn_remote_auth",
        {"enable": "on", "remote_auth_addr": "http://a.test", "remote_auth_custom_header": "X: 1\r\nY: 2"},
        "remote_auth_custom_header",
    ),
    ("headwater_access", {"protocols_denied": "srt"}, "protocols_denied"),
    ("headwater_access", {"regions_denied": "XX"}, "regions_denied"),
    ("headwater_access", {"regions_denied": "CN", "regions_allowed": "US"}, "regions_allowed"),
    ("headwater_access", {"colour": "blue"}, "colour"),
]


def setting(name: str, args: dict[str, str]) -> FunctionSetting:
    return FunctionSetting(name, tuple(args.items()))


@pytest.mark.parametrize(("name", "args"), GOOD, ids=str)
def test_good_arguments_are_taken(name: str, args: dict[str, str]) -> None:
    functions.check(setting(name, args), "liveVideo")


@pytest.mark.parametrize(("name", "args", "argument"), BAD, ids=range(len(BAD)))
def test_arguments_that_mean_nothing_are_refused_by_name(name: str, args: dict[str, str], argument: str) -> None:
    with pytest.raises(DomainError) as refused:
        functions.check(setting(name, args), "liveVideo")
    assert (refused.value.code, refused.value.status) == ("InvalidArgValue.Malformed", 400)
    assert refused.value.message.endswith(f"{name}: {argument}.")


@pytest.mark.parametrize(("name", "other"), [(name, known.excludes) for name, known in KNOWN.items() if known.excludes])
def test_functions_that_exclude_each_other_do_so_both_ways(name: str, other: str) -> None:
    assert KNOWN[other].excludes == name
    wanted = next(setting(*good) for good in GOOD if good[0] == name)
    with pytest.raises(DomainError) as refused:
        functions.check_exclusion(setting(name, {"enable": "on"}), {other: (("enable", "on"),)})
    assert refused.value.code == "ConfigConflict"
    functions.check_exclusion(wanted, {other: (("enable", "off"),)})
    functions.check_exclusion(wanted, {name: ()})


def meant(name: str, **args: str) -> Access:
    return access_functions.access({name: tuple(args.items())})


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("ip_allow_list_set", {"ip_list": "::1, 192.0.2.0/24"}, {"ip": IpRule(("::1", "192.0.2.0/24"), allow=True)}),
        (
            "ip_black_list_set",
            {"ip_list": "::1", "customize_response_status_code": "404", "ip_acl_xfwd": "off"},
            {"ip": IpRule(("::1",), status=404, forwarded="off")},
        ),
        (
            "referer_white_list_set",
            {"refer_domain_allow_list": "a.test:80,https://b.test", "allow_empty": "off"},
            {"referer": RefererRule(("a.test", "https://b.test"), allow=True, allow_empty=False)},
        ),
        ("referer_black_list_set", {"refer_domain_deny_list": "a.test"}, {"referer": RefererRule(("a.test",))}),
        ("ali_ua", {"ua": "a*|b", "type": "white"}, {"agent": AgentRule(("a*", "b"), allow=True)}),
        ("https_force", {"enable": "on"}, {"scheme": "https"}),
        ("http_force", {"enable": "on"}, {"scheme": "http"}),
        ("http_force", {"enable": "off"}, {}),
        ("websocket", {"enabled": "off"}, {"denied_protocols": ("ws-flv",)}),
        ("https_tls_version", {"tls12": "off"}, {"tls_versions": ("TLSv1.3",)}),
        ("ipv6", {"switch": "off"}, {"ipv6": False}),
        (
            "headwater_access",
            {"protocols_denied": "rtmp,flv", "regions_denied": "AS"},
            {"denied_protocols": ("rtmp", "flv"), "region": RegionRule(("AS",))},
        ),
        ("cdn_remote_auth", {"enable": "off", "remote_auth_addr": "http://a.test"}, {}),
        ("cdn_remote_auth", {"enable": "on", "remote_auth_addr": "http://a.test"}, {"remote": RemoteAuth("http://a.test")}),
        (
            "cdn_remote_auth",
            {
                "enable": "on",
                "remote_auth_addr": "http://a.test",
                "remote_auth_type": "flv|m3u8",
                "remote_auth_reserve_args": "ali_delete_all_args",
                "remote_auth_timeout": "500",
                "remote_auth_timeout_action": "reject",
            },
            {"remote": RemoteAuth("http://a.test", types=("flv", "m3u8"), kept_args=(), timeout_passes=False, timeout_s=0.5)},
        ),
        (
            "cdn_remote_auth",
            {"enable": "on", "remote_auth_addr": "http://a", "remote_auth_type": "all"},
            {"remote": RemoteAuth("http://a")},
        ),
    ],
)
def test_functions_become_rules_of_access(name: str, args: dict[str, str], expected: dict[str, Any]) -> None:
    assert meant(name, **args) == Access(**expected)


def test_functions_become_answers() -> None:
    settings = [
        setting("set_resp_header", {"key": "X-A", "value": "1"}),
        setting("set_resp_header", {"key": "Server", "value": "null"}),
        setting("error_page", {"error_code": "403", "rewrite_page": "https://a.test/"}),
        setting("gzip", {"enable": "off"}),
        setting("HSTS", {"enabled": "on", "https_hsts_include_subdomains": "on"}),
    ]
    assert access_functions.answers(settings) == Answers(
        headers=(("X-A", "1"), ("Server", None)),
        hsts="max-age=31536000; includeSubDomains",
        gzip=False,
        error_pages=((403, "https://a.test/"),),
    )
    assert access_functions.answers([]) == Answers()


def test_the_manual_has_the_table_of_the_code() -> None:
    table = MANUAL.read_text().partition(MARKERS[0])[2].partition(MARKERS[1])[0]
    assert table == markdown(), "write it: python -m headwater.domains.function_table docs/domain-functions.md"


def test_whatever_the_manual_calls_enforced_reaches_a_media_node() -> None:
    enforced = {name for name, known in KNOWN.items() if known.effect}
    compiled = {name for name, _ in GOOD if meant_to_do_something(name)} | {"aliauth", "headwater_live"}
    assert compiled == enforced


def meant_to_do_something(name: str) -> bool:
    """Whether any of the good examples of a function changes what media nodes do."""
    settings = [setting(*good) for good in GOOD if good[0] == name]
    settings += [setting(*extra) for extra in EXTRA if extra[0] == name]
    return any(
        access_functions.access({one.name: one.args}) != Access() or access_functions.answers([one]) != Answers()
        for one in settings
    )


EXTRA: list[tuple[str, dict[str, str]]] = [
    ("http_force", {"enable": "on"}),
    ("ipv6", {"switch": "off"}),
    ("gzip", {"enable": "off"}),
]
