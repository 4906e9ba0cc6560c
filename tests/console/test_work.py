"""What is done in the console is done: functions, tickets, registers, keys, tags, certificates and the log of it all."""

from __future__ import annotations

import re

import pytest

from headwater.console.forms import Form
from headwater.console.function_forms import FORMS, arguments, lines, values
from headwater.console.pages.audit import difference
from headwater.console.pages.nodes import place
from headwater.console.pages.usage import chart, nice
from headwater.domains.function_table import KNOWN
from support.console_site import ACTOR, Site, Visitor

PLAY, PUSH = "play.example.test", "push.example.test"


@pytest.fixture
async def account(site: Site) -> str:
    account = await site.account("ada")
    await site.domain(account, PLAY)
    await site.domain(account, PUSH, "liveEdge")
    return account


@pytest.fixture
async def ada(site: Site, account: str) -> Visitor:
    return await site.visitor("ada")


async def stored(site: Site, account: str, function: str) -> list[dict[str, str]]:
    return [dict(record.args) for record in await site.services.domains.functions(account, PLAY, [function])]


async def test_a_function_is_set_changed_and_removed(site: Site, account: str, ada: Visitor) -> None:
    path = f"/domains/{PLAY}/access"
    await ada.post(
        path, {"function": "ip_black_list_set", "what": "save", "ip_list": "192.0.2.1\n198.51.100.0/24, 2001:db8::/32"}
    )
    assert await stored(site, account, "ip_black_list_set") == [{"ip_list": "192.0.2.1,198.51.100.0/24,2001:db8::/32"}]
    page = await ada.get(path)
    assert "192.0.2.1\n198.51.100.0/24\n2001:db8::/32" in page.html
    (record,) = await site.services.domains.functions(account, PLAY, ["ip_black_list_set"])
    page = await ada.post(
        path, {"function": "ip_black_list_set", "what": "save", "config_id": record.config_id, "ip_list": "not an address"}
    )
    assert page.status == 400
    assert "not an address" in page.html  # what was typed is not lost
    page = await ada.post(path, {"function": "ip_allow_list_set", "what": "save", "ip_list": "192.0.2.7"})
    assert "ip_black_list_set" in page.text  # the one excludes the other
    await ada.post(path, {"function": "ip_black_list_set", "what": "remove", "config_id": record.config_id})
    assert await stored(site, account, "ip_black_list_set") == []


async def test_a_function_that_may_stand_several_times_does(site: Site, account: str, ada: Visitor) -> None:
    path = f"/domains/{PLAY}/access"
    for key in ("X-One", "X-Two"):
        await ada.post(path, {"function": "set_resp_header", "what": "save", "key": key, "value": "yes"})
    records = await site.services.domains.functions(account, PLAY, ["set_resp_header"])
    assert [dict(record.args)["key"] for record in records] == ["X-One", "X-Two"]
    await ada.post(path, {"function": "set_resp_header", "what": "remove", "config_id": records[0].config_id})
    assert [args["key"] for args in await stored(site, account, "set_resp_header")] == ["X-Two"]


async def test_a_function_without_a_form_is_set_as_lines(site: Site, account: str, ada: Visitor) -> None:
    await ada.post(f"/domains/{PLAY}/access", {"function": "range", "what": "save", "lines": "enable = force\n"})
    assert await stored(site, account, "range") == [{"enable": "force"}]


def test_every_function_that_works_here_has_a_form_and_every_form_fits() -> None:
    assert {name for name, known in KNOWN.items() if known.effect} - set(FORMS) == set()
    for name, form in FORMS.items():
        assert form.multiple == KNOWN[name].multiple
        assert form.types == (("liveVideo",) if KNOWN[name].streaming_only else form.types)
        known = KNOWN[name].args
        assert not known or {item.name for item in form.fields} <= set(known), name
        for item in form.fields:
            for value, _ in item.options:
                assert item.name not in known or known[item.name].check(value), (name, item.name, value)


def test_a_form_keeps_what_it_does_not_show() -> None:
    form = FORMS["ip_black_list_set"]
    sent = Form([("ip_list", "192.0.2.1\n\n 192.0.2.2 ")])
    assert arguments(form, sent, (("ip_list", "x"), ("ip_acl_xfwd", "all"))) == [
        ("ip_list", "192.0.2.1,192.0.2.2"),
        ("ip_acl_xfwd", "all"),
    ]
    assert values(form, (("ip_list", "a, b"),)) == {"ip_list": "a\nb"}
    assert lines("a=b=c\n\n d = \n") == [("a", "b=c"), ("d", "")]


async def test_a_ticket_is_asked_answered_and_seen_by_both_sides(site: Site, account: str, ada: Visitor) -> None:
    page = await ada.post(
        "/tickets/new", {"kind": "verification", "domain": "shop.example.com", "text": "Ours.\n<b>Really</b>."}
    )
    number = str(page.response.url.path).rsplit("/", 1)[1]
    assert "&lt;b&gt;Really&lt;/b&gt;" in page.html
    operator = await site.visitor("op")
    assert "shop.example.com" in (await operator.get("/tickets")).text
    await operator.post(f"/tickets/{number}", {"what": "reply", "text": "Which registrar?"})
    assert "Which registrar?" in (await ada.get(f"/tickets/{number}")).text
    page = await operator.post(f"/tickets/{number}", {"what": "reject", "text": ""})
    assert "Text" in page.text  # a rejection needs a reason
    await operator.post(f"/tickets/{number}", {"what": "approve", "text": "Good."})
    page = await ada.get(f"/tickets/{number}")
    assert "Approved" in page.text
    assert [root.root for root in await site.services.ownership.roots(account)] == ["example.com"]
    eve = await site.account("eve")
    stranger = await site.visitor("eve")
    assert (await stranger.get(f"/tickets/{number}")).status == 404
    assert eve


async def test_a_user_cannot_answer_a_ticket(site: Site, account: str, ada: Visitor) -> None:
    page = await ada.post("/tickets/new", {"kind": "duplicate", "domain": "shop.example.com", "text": "Mine."})
    path = str(page.response.url.path)
    await ada.post(path, {"what": "approve", "text": "I say so."})
    assert "Approved" not in (await ada.get(path)).text
    await ada.post(path, {"what": "withdraw"})
    assert "Withdrawn" in (await ada.get(path)).text


async def test_more_domains_can_be_asked_for_only_with_enough_bandwidth(site: Site, ada: Visitor) -> None:
    page = await ada.get("/tickets/new?kind=quota")
    assert "exceeds 50 Mbit/s" in page.text
    assert not any(attrs.get("name") == "wanted" for _, attrs in page.tags)
    await ada.post("/tickets/new", {"kind": "quota", "wanted": "40", "text": "More."}, page="/tickets/new")
    assert (await site.services.tickets.tickets()).total == 0


async def test_an_operator_asks_for_nothing_without_an_account(site: Site, account: str) -> None:
    operator = await site.visitor("op")
    page = await operator.get("/tickets/new")
    assert "For which one?" in page.text
    page = await operator.post("/act-for", {"account": account, "back": "/tickets/new"}, page="/tickets/new")
    assert "Submit a ticket" in page.text


async def test_the_registers_are_filled_one_by_one_and_as_lists(site: Site, ada: Visitor) -> None:
    operator = await site.visitor("op")
    page = await operator.post("/filings", {"domain": "www.example.com", "number": "ICP-1", "expires": "2030-12-31"})
    assert "example.com" in page.text
    assert "2030-12-31" in page.text
    page = await operator.post("/filings", {"what": "import", "csv": "domain,number,holder,expires\nexample.org,ICP-2,,bad\n"})
    assert page.status == 400
    assert "Line 2" in page.text
    await operator.post("/filings", {"what": "import", "csv": "domain,number,holder,expires\nexample.org,ICP-2,Ada,\n"})
    assert (await site.services.filings.filings()).total == 2
    await operator.post("/filings", {"what": "remove", "root": "example.org"})
    assert (await site.services.filings.filings()).total == 1
    page = await operator.post("/claims", {"name": "vod.example.com", "service": "vod", "account": ""})
    assert "vod.example.com" in page.text
    for path in ("/filings", "/claims"):
        assert (await ada.get(path)).status == 404
    page = await ada.get("/domains/add/check?name=vod.example.com")
    assert "already exists" in page.text


async def test_who_holds_a_name_is_told_to_the_same_account_alone(site: Site, account: str, ada: Visitor) -> None:
    await site.services.claims.add("a.example.test", "vod", account, actor=ACTOR)
    assert "VOD" in (await ada.get("/domains/add/check?name=a.example.test")).text
    await site.account("eve")
    stranger = await site.visitor("eve")
    page = await stranger.get("/domains/add/check?name=a.example.test")
    assert "already exists" in page.text
    assert "VOD" not in page.text


async def test_a_key_is_shown_once_and_can_be_disabled(site: Site, account: str, ada: Visitor) -> None:
    path = f"/accounts/{account}"
    page = await ada.post(f"{path}/keys", {"what": "create"}, page=path)
    key, secret = re.findall(r'data-copy="(\w+)"', page.html)[:2]
    assert secret not in (await ada.get(path)).html
    await ada.post(f"{path}/keys", {"what": "disable", "key": key}, page=path)
    assert not (await site.services.accounts.access_key(key)).active  # type: ignore[union-attr]
    await ada.post(f"{path}/keys", {"what": "delete", "key": key}, page=path)
    assert await site.services.accounts.access_key(key) is None
    assert secret not in (await ada.get("/audit")).html


async def test_tags_are_given_and_looked_for(site: Site, ada: Visitor) -> None:
    await ada.post(f"/domains/{PLAY}/status", {"what": "tag", "key": "team", "value": "sports"}, page=f"/domains/{PLAY}")
    page = await ada.get("/domains?tag=team%3Dsports")
    assert PLAY in page.text
    assert f">{PUSH}<" not in page.html
    await ada.post(f"/domains/{PLAY}/status", {"what": "untag", "key": "team"}, page=f"/domains/{PLAY}")
    assert "No domain matches" in (await ada.get("/domains?tag=team%3Dsports")).text


async def test_the_list_is_searched_filtered_and_paged(site: Site, account: str, ada: Visitor) -> None:
    for number in range(18):
        await site.domain(account, f"n{number:02}.example.test")

    async def shown(query: str) -> list[str]:
        page = await ada.get(f"/domains{query}")
        return [str(attrs["value"]) for tag, attrs in page.tags if tag == "input" and attrs.get("name") == "name"]

    assert len(await shown("")) == 20
    assert await shown("?q=N03") == ["n03.example.test"]
    assert await shown("?type=liveEdge") == [PUSH]
    assert await shown("?status=offline") == []
    assert await shown("?page=9") == []
    assert "20 in all" in (await ada.get("/domains")).text


async def test_several_domains_are_stopped_and_started_and_each_refusal_is_said(site: Site, account: str, ada: Visitor) -> None:
    await ada.post("/domains/batch", {"what": "stop", "name": [PLAY, PUSH]}, page="/domains")
    statuses = {item.name: item.status for item in (await site.services.domains.list_domains(account)).items}
    assert set(statuses.values()) == {"offline"}
    page = await ada.post("/domains/batch", {"what": "start", "name": [PLAY, "gone.example.test"]}, page="/domains")
    assert "1 domains were started." in page.text
    assert "gone.example.test: There is no such domain." in page.text


async def test_a_bad_certificate_is_refused_with_its_reason(ada: Visitor) -> None:
    page = await ada.post(f"/domains/{PLAY}/certificate", {"what": "upload", "chain": "nonsense", "key": "nonsense"})
    assert page.status == 400
    assert "SSLPub" in page.text or "SSLPri" in page.text


def test_a_difference_names_what_has_changed() -> None:
    assert difference({"a": 1, "b": {"c": "x", "d": [1, 2]}}, {"a": 1, "b": {"c": "y", "d": [1, 2]}, "e": None}) == [
        ("a", "same", "1"),
        ("b.c", "gone", "x"),
        ("b.c", "new", "y"),
        ("b.d", "same", "[1,2]"),
        ("e", "new", "null"),
    ]
    assert difference(None, [{"name": "x"}, {"name": "y"}]) == [("[0].name", "new", "x"), ("[1].name", "new", "y")]
    assert difference(None, None) == []


def test_a_chart_and_a_map_hold_what_they_show() -> None:
    assert [nice(value) for value in (0, 1, 3, 7, 9, 42_000)] == [1, 1, 4, 8, 10, 80_000]
    curve = chart([(0, 0.0), (300, 5.0), (600, 10.0)])
    assert curve.line == "M0.0 240.0L480.0 120.0L960.0 0.0"
    assert place(84, -180) == (0, 0)
    assert place(-90, 180) == (1000, 390)
