"""Every page: whole, small, in both languages, and with nothing in it that was not put there as text."""

from __future__ import annotations

import pytest

from support.console_site import Site

PAGES = [
    "/domains",
    "/domains/add",
    "/domains/push.example.test",
    "/domains/push.example.test/binding",
    "/domains/play.example.test/urls",
    "/domains/play.example.test/delay",
    "/domains/play.example.test/access",
    "/domains/push.example.test/access",
    "/domains/play.example.test/certificate",
    "/domains/play.example.test/usage",
    "/domains/play.example.test/transcoding",
    "/domains/play.example.test/recording",
    "/domains/play.example.test/snapshots",
    "/domains/play.example.test/shift",
    "/domains/play.example.test/callbacks",
    "/domains/push.example.test/callbacks",
    "/streams",
    "/streams/play.example.test/live/cam",
    "/nodes",
    "/domains/push.example.test/cname",
    "/domains/add/proof?name=www.example.com&account=1",
    "/tickets",
    "/filings",
    "/claims",
    "/callbacks",
    "/uploads",
    "/accounts",
    "/users",
    "/audit",
    "/password",
]
PAGE_BYTES_MAX = 300_000


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_there_and_small(site: Site, path: str) -> None:
    account = await site.account("ada")
    await site.domain(account, "push.example.test", "liveEdge")
    await site.domain(account, "play.example.test")
    visitor = await site.visitor("op")
    page = await visitor.get(path)
    assert page.status == 200, page.text
    weight = len(page.html)
    for link in {link.partition("#")[0] for link in page.links if link.startswith("/static/")}:
        file = await visitor.http.get(link, headers={"accept-encoding": "identity"})
        assert file.status_code == 200, link
        weight += len(file.content)
    assert weight < PAGE_BYTES_MAX, weight
