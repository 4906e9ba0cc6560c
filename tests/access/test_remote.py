"""What a customer's own server is asked about a push or play, and whom it can believe."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from headwater.access.client import Client
from headwater.access.policy import RemoteAuth
from headwater.access.remote import question
from headwater.delivery.play import PlayRequest


def asked(headers: Mapping[str, str]) -> PlayRequest:
    return PlayRequest(
        domain="play.example.test",
        app="live",
        stream="secret",
        uri="/live/secret.flv",
        token=None,
        client=Client("192.0.2.7", "flv"),
        args={},
        headers=headers,
    )


@pytest.mark.parametrize("kept", [None, ("x-live-stream", "x-live-client", "x_tenant", "x_live_app")])
def test_a_client_cannot_speak_in_our_name_or_the_customers(kept: tuple[str, ...] | None) -> None:
    rule = RemoteAuth("http://auth.example.test/", kept_headers=kept, added_headers=(("X-Tenant", "ours"),))
    lies = {"x-live-stream": "free", "x-live-client": "127.0.0.1", "X_Tenant": "theirs", "x_live_app": "free"}
    names = [name.lower().replace("_", "-") for name, _ in question(rule, "play", asked(lies)).headers]
    assert len(names) == len(set(names))
    told = {name.lower(): value for name, value in question(rule, "play", asked(lies)).headers}
    assert (told["x-live-stream"], told["x-live-client"], told["x-tenant"]) == ("secret", "192.0.2.7", "ours")


def test_a_header_of_the_customers_own_takes_the_place_of_ours() -> None:
    rule = RemoteAuth("http://auth.example.test/", added_headers=(("x-live-app", "another"),))
    headers = question(rule, "play", asked({})).headers
    assert [value for name, value in headers if name.lower() == "x-live-app"] == ["another"]
