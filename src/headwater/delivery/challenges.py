"""The answers to HTTP-01 challenges, by which an ACME authority sees that a domain is served here (RFC 8555, section 8.3)."""

from __future__ import annotations

from headwater.access.certificate import CHALLENGE_PATH, HTTP_CHALLENGE_PREFIX
from headwater.access.names import request_domain
from headwater.protocols.http import Request, Response

HEADERS = (("Content-Type", "application/octet-stream"), ("Cache-Control", "no-store"))


class Challenges:
    """The challenges that are open now, as the cluster's store has them."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], bytes] = {}

    def changed(self, key: str, value: bytes | None) -> None:
        """Take note of a key below HTTP_CHALLENGE_PREFIX."""
        domain, _, token = key.removeprefix(HTTP_CHALLENGE_PREFIX).partition("/")
        if value is None:
            self._answers.pop((domain, token), None)
        else:
            self._answers[domain, token] = value

    def answer(self, request: Request) -> Response | None:
        """The answer to a challenge for the domain of the Host header; None if the request is for something else."""
        if not request.path.startswith(CHALLENGE_PATH):
            return None
        domain = request_domain(request.headers.get("host"), {})
        body = self._answers.get((domain, request.path.removeprefix(CHALLENGE_PATH)))
        return Response(404, HEADERS) if body is None else Response(200, HEADERS, body)
