"""Operations on certificates and the HTTPS of domains (reference control-plane 2.1 and 2.2)."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec

from headwater.domains import certificate_rules
from headwater.domains.certificates import CertificateRecord, HttpsRecord
from headwater.domains.rules import format_time
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request

PEM_TIME = "%b %d %H:%M:%S %Y GMT"
"""How DescribeLiveDomainByCertificate writes times: as OpenSSL does."""

DAY_S = 86_400
MONTH_S = 365.25 / 12 * DAY_S


class SetLiveDomainCertificate(Request):
    """Switch HTTPS of a domain on, with a certificate, or off; with DryRun only say whether that would go well."""

    domain_name: str
    ssl_protocol: str = msgspec.field(name="SSLProtocol")
    cert_type: str = ""
    cert_name: str = ""
    ssl_pub: str = msgspec.field(default="", name="SSLPub")
    ssl_pri: str = msgspec.field(default="", name="SSLPri")
    force_set: str = ""
    dry_run: bool = False


@operation(SetLiveDomainCertificate)
async def set_live_domain_certificate(call: Call, request: SetLiveDomainCertificate) -> Fields:
    await call.services.certificates.set(
        call.account,
        request.domain_name,
        request.ssl_protocol,
        type_=request.cert_type,
        name=request.cert_name,
        chain=request.ssl_pub,
        key=request.ssl_pri,
        force=request.force_set == "1",
        dry_run=request.dry_run,
        actor=call.actor,
    )
    return {}


class DescribeLiveDomainCertificateInfo(Request):
    """HTTPS of one domain. Without a certificate all but DomainName and SSLProtocol is empty."""

    domain_name: str


@operation(DescribeLiveDomainCertificateInfo)
async def describe_live_domain_certificate_info(call: Call, request: DescribeLiveDomainCertificateInfo) -> Fields:
    https = await call.services.certificates.https(call.account, request.domain_name)
    certificate = https.certificate
    return {
        "CertInfos": {
            "CertInfo": [
                {
                    "CertDomainName": certificate.common_name if certificate else "",
                    "CertExpireTime": format_time(certificate.not_after_s) if certificate else "",
                    "CertLife": _life(certificate) if certificate else "",
                    "CertName": certificate.name if certificate else "",
                    "CertOrg": certificate.organization if certificate else "",
                    "CertType": https.type if https.type and (https.enabled or certificate) else "",
                    "DomainName": https.domain,
                    "SSLProtocol": "on" if https.enabled else "off",
                    "SSLPub": certificate.chain if certificate else "",
                    "Status": _status(https),
                }
            ]
        }
    }


class DescribeLiveCertificateList(Request):
    """The certificates of the account, or those of them that are good for one domain."""

    domain_name: str = ""


@operation(DescribeLiveCertificateList)
async def describe_live_certificate_list(call: Call, request: DescribeLiveCertificateList) -> Fields:
    certificates = await call.services.certificates.certificates(call.account, request.domain_name)
    return {
        "CertificateListModel": {
            "CertList": {
                "Cert": [
                    {
                        "CertId": certificate.id,
                        "CertName": certificate.name,
                        "Common": certificate.common_name,
                        "Fingerprint": certificate.fingerprint,
                        "Issuer": certificate.issuer,
                        "LastTime": int(certificate.updated_s),
                    }
                    for certificate in certificates
                ]
            },
            "Count": len(certificates),
        }
    }


class DescribeLiveCertificateDetail(Request):
    """One certificate as PEM."""

    cert_name: str


@operation(DescribeLiveCertificateDetail)
async def describe_live_certificate_detail(call: Call, request: DescribeLiveCertificateDetail) -> Fields:
    certificate = await call.services.certificates.certificate(call.account, request.cert_name)
    return {"Cert": certificate.chain, "CertId": certificate.id, "CertName": certificate.name}


class DescribeLiveHttpsDomainList(Request):
    """Page through the domains with HTTPS on; Keyword is a part of their names."""

    keyword: str = ""
    page_number: PageNumber = 1
    page_size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


@operation(DescribeLiveHttpsDomainList)
async def describe_live_https_domain_list(call: Call, request: DescribeLiveHttpsDomainList) -> Fields:
    page = await call.services.certificates.https_domains(
        call.account, keyword=request.keyword, page_number=request.page_number, page_size=request.page_size
    )
    return {
        "CertInfos": {
            "CertInfo": [
                {
                    "CertCommonName": certificate.common_name,
                    "CertExpireTime": format_time(certificate.not_after_s),
                    "CertName": certificate.name,
                    "CertStartTime": format_time(certificate.not_before_s),
                    "CertStatus": https.state,
                    "CertType": https.type,
                    "CertUpdateTime": format_time(certificate.updated_s),
                    "DomainName": https.domain,
                }
                for https in page.items
                if (certificate := https.certificate) is not None
            ]
        },
        "TotalCount": page.total,
    }


class DescribeLiveDomainByCertificate(Request):
    """What a certificate says and for which domains of the account it is good; SSLStatus: only those with HTTPS on, or off."""

    ssl_pub: str = msgspec.field(name="SSLPub")
    ssl_status: bool | None = msgspec.field(default=None, name="SSLStatus")


@operation(DescribeLiveDomainByCertificate)
async def describe_live_domain_by_certificate(call: Call, request: DescribeLiveDomainByCertificate) -> Fields:
    chain = certificate_rules.decode_parameter(request.ssl_pub)
    match = await call.services.certificates.match(call.account, chain, request.ssl_status)
    certificate = match.certificate
    return {
        "CertInfos": {
            "CertInfo": [
                {
                    "CertCaIsLegacy": "no",  # whether an authority of the past issued it: none of them is trusted any more
                    "CertExpireTime": time.strftime(PEM_TIME, time.gmtime(certificate.not_after_s)),
                    "CertExpired": "yes" if certificate.not_after_s <= time.time() else "no",
                    "CertStartTime": time.strftime(PEM_TIME, time.gmtime(certificate.not_before_s)),
                    "CertSubjectCommonName": certificate.common_name,
                    "CertType": certificate.key_type,
                    "DomainList": ",".join(match.domains),
                    "DomainNames": ",".join(certificate.names),
                    "Issuer": certificate.issuer,
                }
            ]
        }
    }


def _status(https: HttpsRecord) -> str:
    """The state of a certificate in the words of the service: `success`, `applying`, `failed`; "" if there is none."""
    issuance = https.issuance
    if issuance is not None and issuance.status != "issued":
        return "failed" if issuance.status == "failed" else "applying"
    return "success" if https.certificate else ""


def _life(certificate: CertificateRecord) -> str:
    """How long a certificate lives, as in `3 months` or `1 years`; the service's `days` is ours, for short-lived ones."""
    life_s = certificate.not_after_s - certificate.not_before_s
    months = round(life_s / MONTH_S)
    if not months:
        return f"{round(life_s / DAY_S)} days"
    return f"{months // 12} years" if months % 12 == 0 else f"{months} months"
