"""A client of ACME authorities such as Let's Encrypt (RFC 8555): one method for each request, none of which waits or polls.

The `acme` library of Certbot would do, but it sleeps in its calls and can only go on with an order that it has begun itself;
an order here must survive a restart and must not hold up the event loop.
"""

from __future__ import annotations

import asyncio
import base64
import email.utils
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

REQUEST_S = 30.0
"""How long one request to the authority may take; the dear ones answer at once and go on in the background."""

ANSWER_MAX_BYTES = 1024 * 1024
"""A certificate chain has some kilobytes; everything else has less."""

NONCE_TRIES = 5
"""An authority may refuse a nonce that it has given (RFC 8555, section 6.5); Pebble does so with one in twenty, on purpose."""

RETRY_AFTER_MAX_S = 86_400.0
"""More patience than a day is never asked for in good faith."""

PROBLEM = "urn:ietf:params:acme:error:"
"""What the types of the authority's problems begin with (RFC 8555, section 6.7)."""

UNREACHABLE = "unreachable"
"""A type of our own: no valid answer came at all."""

_COORDINATE_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]+")

T = TypeVar("T")


class AcmeError(Exception):
    """The authority refused, or cannot be reached.

    type: of the problem, without PROBLEM, or UNREACHABLE. retry_after_s: the authority asks to wait so long.
    """

    def __init__(self, type_: str, detail: str, retry_after_s: float = 0.0) -> None:
        self.type = type_.removeprefix(PROBLEM)
        self.detail = _NOT_PRINTABLE.sub(" ", detail)[:500]  # it is shown to people, and comes from far away
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.type}: {self.detail}")


class Problem(msgspec.Struct, frozen=True):
    """Why something went wrong (RFC 7807)."""

    type: str = ""
    detail: str = ""

    def error(self) -> AcmeError:
        """The same, to be raised."""
        return AcmeError(self.type, self.detail)


class Challenge(msgspec.Struct, frozen=True):
    """One way to prove that a domain is ours (RFC 8555, section 8)."""

    type: str
    url: str
    status: str = "pending"
    token: str = ""
    error: Problem | None = None


class Authorization(msgspec.Struct, frozen=True):
    """What must be proved for one name, and whether it is (RFC 8555, section 7.1.4)."""

    status: str
    challenges: tuple[Challenge, ...] = ()
    retry_after_s: float = 0.0


class Order(msgspec.Struct, frozen=True):
    """A wish for a certificate (RFC 8555, section 7.1.3)."""

    status: str
    finalize: str
    authorizations: tuple[str, ...] = ()
    certificate: str = ""
    error: Problem | None = None
    retry_after_s: float = 0.0


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    external_account_required: bool = False


class _Directory(msgspec.Struct, frozen=True, rename="camel"):
    new_nonce: str
    new_account: str
    new_order: str
    meta: _Meta = _Meta()


class AcmeClient:
    """One account at an authority. All methods raise AcmeError.

    http: bound to nothing; it may serve others too. account_url: of an account that `register` has made before.
    """

    def __init__(
        self, directory_url: str, key: ec.EllipticCurvePrivateKey, http: httpx.AsyncClient, account_url: str = ""
    ) -> None:
        self.account_url = account_url
        self._directory_url = directory_url
        self._directory: _Directory | None = None
        self._key = key
        self._http = http
        self._nonces: list[str] = []
        self._jwk = _jwk(key)

    async def register(self, contact: str, eab_key_id: str = "", eab_hmac_key: str = "") -> str:
        """Make the account, or find the one of this key, agreeing to the terms; returns its URL (RFC 8555, section 7.3).

        contact: an e-mail address or "". eab_key_id, eab_hmac_key: for authorities that know their customers (7.3.4).
        """
        directory = await self._find_directory()
        payload: dict[str, Any] = {"termsOfServiceAgreed": True}
        if contact:
            payload["contact"] = [f"mailto:{contact}"]
        if eab_key_id:
            payload["externalAccountBinding"] = self._binding(directory.new_account, eab_key_id, eab_hmac_key)
        elif directory.meta.external_account_required:
            raise AcmeError("externalAccountRequired", "the authority wants acme.eab_key_id and acme.eab_hmac_key")
        response = await self._post(directory.new_account, payload)
        self.account_url = _location(response)
        return self.account_url

    async def new_order(self, domain: str) -> tuple[str, Order]:
        """Ask for a certificate for one name; the order's URL and the order (RFC 8555, section 7.4)."""
        directory = await self._find_directory()
        response = await self._post(directory.new_order, {"identifiers": [{"type": "dns", "value": domain}]})
        return _location(response), _decode(response, Order)

    async def order(self, url: str) -> Order:
        """An order as it is now."""
        return _decode(await self._post(url, None), Order)

    async def authorization(self, url: str) -> Authorization:
        """An authorization as it is now."""
        return _decode(await self._post(url, None), Authorization)

    async def answer(self, challenge: Challenge) -> None:
        """Tell the authority that it may look now (RFC 8555, section 7.5.1)."""
        await self._post(challenge.url, {})

    async def finalize(self, order: Order, request: bytes) -> None:
        """Send the certificate signing request, as DER (RFC 8555, section 7.4)."""
        await self._post(order.finalize, {"csr": base64url(request)})

    async def certificate(self, order: Order) -> str:
        """The issued certificate with those above it, as PEM (RFC 8555, section 7.4.2)."""
        response = await self._post(order.certificate, None, accept="application/pem-certificate-chain")
        return response.content.decode("ascii", "replace")

    def key_authorization(self, challenge: Challenge) -> str:
        """What proves that the account's holder controls the domain (RFC 8555, section 8.1)."""
        if not _TOKEN.fullmatch(challenge.token):
            raise AcmeError("malformed", "the authority's challenge has no valid token")
        return f"{challenge.token}.{base64url(_thumbprint(self._jwk))}"

    def _binding(self, url: str, key_id: str, hmac_key: str) -> dict[str, str]:
        try:
            key = base64.urlsafe_b64decode(hmac_key + "=" * (-len(hmac_key) % 4))
        except ValueError:
            raise AcmeError("externalAccountRequired", "acme.eab_hmac_key is not base64url") from None
        protected = _json({"alg": "HS256", "kid": key_id, "url": url})
        payload = _json(self._jwk)
        signature = hmac.new(key, f"{protected}.{payload}".encode(), hashlib.sha256).digest()
        return {"protected": protected, "payload": payload, "signature": base64url(signature)}

    async def _find_directory(self) -> _Directory:
        if self._directory is None:
            self._directory = _decode(await self._request("GET", self._directory_url), _Directory)
        return self._directory

    async def _post(self, url: str, payload: Mapping[str, Any] | None, accept: str = "application/json") -> httpx.Response:
        """A signed request (RFC 8555, section 6.2); payload None asks for what is at the URL (6.3)."""
        for _ in range(NONCE_TRIES):
            header: dict[str, Any] = {"alg": "ES256", "nonce": await self._nonce(), "url": url}
            header |= {"kid": self.account_url} if self.account_url else {"jwk": self._jwk}
            protected, body = _json(header), "" if payload is None else _json(payload)
            signed = {"protected": protected, "payload": body, "signature": self._sign(f"{protected}.{body}")}
            try:
                return await self._request("POST", url, content=msgspec.json.encode(signed), accept=accept)
            except AcmeError as error:
                if error.type != "badNonce":
                    raise
        raise AcmeError(UNREACHABLE, "the authority refuses the nonces that it gives")

    def _sign(self, text: str) -> str:
        r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return base64url(r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big"))

    async def _nonce(self) -> str:
        if not self._nonces:
            await self._request("HEAD", (await self._find_directory()).new_nonce)
        if not self._nonces:
            raise AcmeError(UNREACHABLE, "the authority gives no nonce")
        return self._nonces.pop()

    async def _request(self, method: str, url: str, content: bytes = b"", accept: str = "application/json") -> httpx.Response:
        headers = {"Accept": accept, "User-Agent": "Headwater"}
        if content:
            headers["Content-Type"] = "application/jose+json"
        try:
            async with asyncio.timeout(REQUEST_S), self._http.stream(method, url, content=content, headers=headers) as response:
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > ANSWER_MAX_BYTES:
                        raise AcmeError(UNREACHABLE, f"the authority's answer is larger than {ANSWER_MAX_BYTES} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise AcmeError(UNREACHABLE, f"{url}: {str(error) or type(error).__name__}") from error
        whole = httpx.Response(response.status_code, headers=response.headers, content=body)
        if nonce := whole.headers.get("Replay-Nonce"):
            self._nonces.append(nonce)
        if not whole.is_success:
            raise _refusal(whole)
        return whole


def base64url(data: bytes) -> str:
    """Base64 for URLs, without padding, as ACME writes all bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def dns_value(key_authorization: str) -> str:
    """The TXT record that answers a DNS-01 challenge (RFC 8555, section 8.4)."""
    return base64url(hashlib.sha256(key_authorization.encode()).digest())


def _jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    x, y = (base64url(value.to_bytes(_COORDINATE_BYTES, "big")) for value in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _thumbprint(jwk: dict[str, str]) -> bytes:
    """RFC 7638: the members in alphabetical order, without white space."""
    return hashlib.sha256(msgspec.json.encode(jwk, order="sorted")).digest()


def _json(value: Mapping[str, Any]) -> str:
    return base64url(msgspec.json.encode(value))


def _location(response: httpx.Response) -> str:
    location = response.headers.get("Location", "")
    if not location:
        raise AcmeError("malformed", "the authority does not say where the new object is")
    return str(httpx.URL(str(location)))


def _decode(response: httpx.Response, kind: type[T]) -> T:
    try:
        fields = msgspec.json.decode(response.content, type=dict[str, Any])
        return msgspec.convert({**fields, "retry_after_s": _retry_after_s(response)}, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AcmeError("malformed", f"the authority's answer cannot be understood: {error}") from error


def _refusal(response: httpx.Response) -> AcmeError:
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = Problem(detail=f"HTTP status {response.status_code}")
    if response.status_code >= 500 and not problem.type:
        return AcmeError(UNREACHABLE, problem.detail)
    return AcmeError(problem.type or "malformed", problem.detail, _retry_after_s(response))


def _retry_after_s(response: httpx.Response) -> float:
    """Seconds of the Retry-After header, 0 without one (RFC 9110, section 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdecimal():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        when = email.utils.parsedate_to_datetime(text)
        now = email.utils.parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return 0.0
    return min(max((when - now).total_seconds(), 0.0), RETRY_AFTER_MAX_S)
