"""The on-demand question and what its answers mean (reference media-plane 3.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.notify.client import CallFailed, Client
from headwater.notify.question import OnDemandAnswer, ask_on_demand, read_answer
from support.callback_server import CallbackServer, Handler

DOCUMENTED = b'{"ApiVersion":"1.0","NeedRecord":true,"Interval":{"Mp4":300,"Flv":120,"M3U8":180},"Format":["mp4","flv"]}'


async def ask(path: str, body: bytes, status: int = 200) -> tuple[OnDemandAnswer, CallbackServer]:
    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    client = Client(allow_private=True)
    with CallbackServer() as customer:
        customer.behaves["/ask"] = answer
        try:
            about = {"app": "live", "domain": "play.example.com", "stream": "show", "codec": "h264"}
            return await ask_on_demand(client, customer.url(path), video_kbps=2000, **about), customer
        finally:
            await client.close()


async def test_the_question_and_its_answer_are_the_documented_ones() -> None:
    answer, customer = await ask("/ask", DOCUMENTED)
    assert answer == OnDemandAnswer(True, {"mp4": 300, "flv": 120, "m3u8": 180}, ("mp4", "flv"))
    (call,) = customer.called
    assert (call.method, call.target) == (
        "GET",
        "/ask?app=live&domain=play.example.com&stream=show&vbitrate=2000&codec=h264",
    )
    assert call.headers["user-agent"] == "Go-http-client/1.1"


async def test_a_query_of_the_customers_own_stays() -> None:
    _, customer = await ask("/ask?token=1", DOCUMENTED)
    assert customer.called[0].target.startswith("/ask?token=1&app=live&")


@pytest.mark.parametrize("status", [201, 302, 404, 500])
async def test_another_status_than_200_is_no_answer(status: int) -> None:
    with pytest.raises(CallFailed, match=f"status {status}"):
        await ask("/ask", DOCUMENTED, status)


async def test_of_an_answer_2048_bytes_are_read() -> None:
    padding = b" " * (2048 - len(DOCUMENTED))
    assert (await ask("/ask", DOCUMENTED + padding))[0].need_record
    with pytest.raises(CallFailed):
        await ask("/ask", b" " + padding + DOCUMENTED)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"NeedRecord":false}', OnDemandAnswer(False)),
        (b'{"NeedRecord":true,"Interval":null,"Format":null}', OnDemandAnswer(True)),
        (b'{"NeedRecord":true,"Format":[]}', OnDemandAnswer(True, {}, ())),
        (
            b'{"NeedRecord":true,"Format":["MP4","avi"],"Interval":{"avi":60,"CMAF":60},"More":1}',
            OnDemandAnswer(True, {"cmaf": 60}, ("mp4",)),
        ),
    ],
)
def test_what_is_left_out_or_unknown_changes_nothing(body: bytes, wanted: OnDemandAnswer) -> None:
    assert read_answer(body) == wanted


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"true", b'{"NeedRecord":"yes"}', b'{"NeedRecord":true,"Interval":{"Mp4":4}}', b"[" * 2000, b"\xff"],
)
def test_what_cannot_be_understood_is_no_answer(body: bytes) -> None:
    with pytest.raises(CallFailed):
        read_answer(body)


@given(st.binary(max_size=300))
def test_garbage_is_never_more_than_no_answer(body: bytes) -> None:
    with pytest.raises(CallFailed):
        read_answer(b"\0" + body)
