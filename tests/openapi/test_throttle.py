"""Promises about how often an account may call: the documented number, said as the SDKs understand it, in bounded memory."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import httpx
import pytest
from alibabacloud_live20161101 import models
from alibabacloud_live20161101.client import Client
from alibabacloud_tea_openapi.exceptions import ThrottlingException
from alibabacloud_tea_openapi.models import Config

import headwater.openapi.throttle as throttle_module
from headwater.openapi.catalog import CallLimit, catalog
from headwater.openapi.throttle import UNDOCUMENTED, Throttle
from support.api_clients import Refusal, classic, close_connections
from support.api_server import ApiServer
from support.api_signer import v1_parameters
from support.clock import Clock

LIMIT = 30
"""Calls of AddLiveDomain in a second."""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiServer, Clock]]:
    """A server with the documented limits; its clock for them stands still until it is set."""
    clock = Clock(time.time())
    server = ApiServer(tmp_path_factory.mktemp("limited"), limits_scale=1, clock=clock)
    yield server, clock
    close_connections()
    server.close()


def test_the_limits_are_the_documented_ones() -> None:
    documented = {name: catalog()[name].limit for name in ("AddLiveDomain", "DescribeLiveDomainMapping", "TagLiveResources")}
    assert documented == {
        "AddLiveDomain": CallLimit(30, 1),
        "DescribeLiveDomainMapping": CallLimit(500, 60),
        "TagLiveResources": None,
    }
    assert sum(entry.limit is not None for entry in catalog().values()) == 387


def test_a_window_opens_with_a_call_and_holds_the_limit() -> None:
    throttle = Throttle()
    for _ in range(LIMIT):
        assert throttle.wait_ms("a", "AddLiveDomain", 100.25) == 0
        throttle.count("a", "AddLiveDomain", 100.25)
    assert throttle.wait_ms("a", "AddLiveDomain", 100.5) == 750
    assert throttle.wait_ms("a", "AddLiveDomain", 101.2499999) == 1
    assert throttle.wait_ms("a", "AddLiveDomain", 101.25) == 0
    assert throttle.wait_ms("a", "AddLiveDomain", 99) == 0  # the clock was set back
    assert throttle.wait_ms("a", "DeleteLiveDomain", 100.5) == 0
    assert throttle.wait_ms("b", "AddLiveDomain", 100.5) == 0


def test_a_limit_by_the_minute_and_one_that_nobody_documented() -> None:
    throttle = Throttle()
    for action, limit in (("DescribeLiveDomainMapping", CallLimit(500, 60)), ("TagLiveResources", UNDOCUMENTED)):
        for _ in range(limit.calls):
            assert throttle.wait_ms("a", action, 0) == 0
            throttle.count("a", action, 0)
        assert throttle.wait_ms("a", action, 0) == limit.period_s * 1000


def test_limits_can_be_scaled_and_lifted() -> None:
    double, none, least = Throttle(2), Throttle(0), Throttle(0.001)
    for throttle in (double, none, least):
        for _ in range(LIMIT * 2):
            throttle.count("a", "AddLiveDomain", 0)
    assert double.wait_ms("a", "AddLiveDomain", 0) == 1000
    assert none.wait_ms("a", "AddLiveDomain", 0) == 0
    assert len(none) == 0
    assert least.wait_ms("b", "AddLiveDomain", 0) == 0


def test_ended_windows_are_forgotten_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    throttle = Throttle()
    for number in range(1000):
        throttle.count(str(number), "AddLiveDomain", number * 0.1)
    assert len(throttle) <= 11
    monkeypatch.setattr(throttle_module, "WINDOWS_MAX", 50)
    for number in range(1000):
        throttle.count(str(number), "AddLiveDomain", 200.0)
    assert len(throttle) <= 50


def test_the_current_sdk_raises_its_throttling_exception(limited: tuple[ApiServer, Clock]) -> None:
    server, clock = limited
    account = server.new_account(secrets.token_hex(4))
    client = Client(
        Config(
            access_key_id=account.access_key_id,
            access_key_secret=account.access_key_secret,
            endpoint=server.endpoint,
            protocol="http",
        )
    )

    def call() -> None:
        client.add_live_domain(
            models.AddLiveDomainRequest(
                domain_name=f"{secrets.token_hex(6)}.test", live_domain_type="liveVideo", region="eu-central-1"
            )
        )

    for _ in range(20):
        call()
    for _ in range(10):  # what is refused counts, too
        with pytest.raises(Exception, match="QuotaExceeded"):
            call()
    clock.now_s += 0.4
    with pytest.raises(ThrottlingException) as raised:
        call()
    assert (raised.value.code, raised.value.status_code, raised.value.retry_after) == ("Throttling.User", 400, 600)
    clock.now_s += 0.6
    with pytest.raises(Exception, match="QuotaExceeded"):
        call()


def test_the_classic_sdk_gets_the_code_and_other_operations_go_on(limited: tuple[ApiServer, Clock]) -> None:
    server, _ = limited
    account = server.new_account(secrets.token_hex(4))
    call = classic(server.endpoint, account.access_key_id, account.access_key_secret)
    for _ in range(50):
        with pytest.raises(Refusal, match=r"InvalidDomain.NotFound"):
            call("DescribeLiveDomainDetail", DomainName="absent.test")
    with pytest.raises(Refusal) as raised:
        call("DescribeLiveDomainDetail", DomainName="absent.test")
    assert (raised.value.code, raised.value.status) == ("Throttling.User", 400)
    assert raised.value.message == "Request was denied due to user flow control."
    assert call("DescribeLiveUserDomains")["TotalCount"] == 0


def test_neither_a_forgery_nor_a_replay_uses_up_a_limit(limited: tuple[ApiServer, Clock]) -> None:
    server, _ = limited
    account = server.new_account(secrets.token_hex(4))
    key = (account.access_key_id, account.access_key_secret)
    with httpx.Client(base_url=f"http://{server.endpoint}") as http:
        once = v1_parameters("DescribeLiveUserDomains", {"Format": "JSON"}, *key)
        forged = {**once, "Signature": "x"}
        assert {http.get("/", params=forged).json()["Code"] for _ in range(120)} == {"SignatureDoesNotMatch"}
        codes = [http.get("/", params=once).json().get("Code") for _ in range(120)]
        assert codes == [None] + ["SignatureNonceUsed"] * 119
        assert "Code" not in http.get("/", params=v1_parameters("DescribeLiveUserDomains", {"Format": "JSON"}, *key)).json()
