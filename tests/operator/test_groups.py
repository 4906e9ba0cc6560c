"""Multi-bitrate groups by the operator's API and by command, on a real server."""

from __future__ import annotations

import json

import httpx

from support.api import REGION, Api
from support.server import running

GROUPS = "/operator/v1/bitrate-groups"
PLAY = "play.groups.test"


def test_groups_are_set_shown_and_removed_while_the_server_runs() -> None:
    with running() as server:
        api = Api(server, server.account())
        api.call("AddLiveDomain", domain_name=PLAY, live_domain_type="liveVideo", region=REGION)
        for template in ("lld-ll", "lud-ll"):
            api.call("AddLiveStreamTranscode", domain=PLAY, app="live", template=template, lazy="no")
        token = server.run("token", "create", "groups", "--write").strip()
        with httpx.Client(
            base_url=f"http://127.0.0.1:{server.ports['api']}", headers={"authorization": f"Bearer {token}"}, trust_env=False
        ) as http:
            path = f"{GROUPS}/{PLAY}/live/multi"
            made = http.put(path, json={"children": ["lld-ll", ""]})
            expected = {"domain": PLAY, "app": "live", "name": "multi", "children": ["lld-ll", ""], "align": True}
            assert (made.status_code, made.json()) == (200, expected)
            for body, code in (
                ({"children": ["none"]}, "InvalidChildren"),
                ({"children": "lld-ll"}, "InvalidBody"),
                ({}, "InvalidBody"),
            ):
                assert (refused := http.put(path, json=body)).status_code == 400
                assert refused.json()["code"] == code
            assert http.get(f"{GROUPS}/nobody.test").json()["code"] == "InvalidDomain.NotFound"
            server.run("group", "set", PLAY, "live", "multi", "lld-ll", "lud-ll", "source", "--no-align")
            changed = {**expected, "children": ["lld-ll", "lud-ll", ""], "align": False}
            assert http.get(f"{GROUPS}/{PLAY}").json() == {"groups": [changed]}
            assert json.loads(server.run("group", "list", PLAY, "--json")) == [changed]
            assert server.run("group", "list", PLAY).strip() == "live/multi  lld-ll lud-ll source"
            server.run("group", "remove", PLAY, "live", "multi")
            assert http.delete(path).json()["code"] == "ConfigNotFound"
