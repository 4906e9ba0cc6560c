"""Every setting of Headwater: its type, unit, default and the reason for the default.

Values come from a TOML file, then the environment (`HEADWATER_DATA_DIR`, `HEADWATER_LISTEN__RTMP=127.0.0.1:1935`: nested
names join with two underscores), then command-line flags; the later wins.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from headwater.wording import sentence

ENV_PREFIX = "HEADWATER_"

Positive = Annotated[float, msgspec.Meta(gt=0)]
PositiveInt = Annotated[int, msgspec.Meta(gt=0)]
ChallengeType = Literal["http-01", "dns-01"]
"""How an ACME authority checks that a domain is here: over HTTP at the domain, or by a TXT record (RFC 8555, 8.3 and 8.4)."""
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class SettingsError(Exception):
    """A setting that cannot be used; the message names it and says what is expected."""


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where each service listens, as `host:port`; an empty string switches it off. `dns` is UDP and TCP.

    `0.0.0.0` stands for all addresses of IPv4, `[::]` for all of IPv6 and IPv4.
    """

    rtmp: str = "0.0.0.0:1935"
    rtmps: str = "0.0.0.0:1936"
    http: str = "0.0.0.0:8080"
    https: str = "0.0.0.0:8443"
    api: str = "127.0.0.1:9000"
    console: str = "127.0.0.1:9001"
    metrics: str = "127.0.0.1:9100"
    dns: str = "0.0.0.0:5300"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on what the network may cost. Each protects the other users of a node from one.

    connections_per_address: open connections from one client address to each worker. Generous, because a carrier's NAT can
        hide thousands of viewers; 0 means no bound.
    pending_per_address: connections from one address that have not said yet what they want; stops the slow kind of flood.
    first_packet_s: how long a new connection may take to say what it wants: RTMP handshake and command, HTTP request.
    publisher_silence_s: a publisher that sends nothing for so long is ended (reference media-plane 5.2: 10 s).
    takeover_after_s: a second push of a live name takes over once the first has been silent for so long.
    unknown_stream_wait_s: how long a request for a stream that nobody publishes waits for its publisher before it gets its
        404: players often start in the same moment as the encoder. 0 answers at once.
    viewer_stalled_s: a viewer whose socket took nothing for so long is ended.
    """

    connections_per_address: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    pending_per_address: PositiveInt = 1_000
    first_packet_s: Positive = 10.0
    publisher_silence_s: Positive = 10.0
    takeover_after_s: Positive = 3.0
    unknown_stream_wait_s: NotNegative = 1.0
    viewer_stalled_s: Positive = 30.0


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From which load on a worker takes no more newcomers of one kind, new viewers here; who is here goes on. 0: no bound.

    cpu: share of one core that the worker uses. A worker is one thread; the rest is for the bursts of joins and key frames.
    lag_s: how late the worker's event loop is all the time. Later than the longest flush interval (0.35 s) means that the
        machine is too busy for this worker, whatever its own share of the CPU is.
    files: share of the open files that the system allows (`ulimit -n`); sockets are nearly all of them.
    out_mbps: media sent by the whole node, in Mbit/s: set it a little below what the network carries, which nobody here knows.
    """

    cpu: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    lag_s: NotNegative = 0.5
    files: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    out_mbps: NotNegative = 0.0


class PublisherBounds(Bounds, frozen=True, forbid_unknown_fields=True):
    """The same for new publishers, who are let in when viewers no longer are: without them there is nothing to watch, and each
    costs little. What they send does not leave the node by itself, so no bandwidth is asked of them.
    """

    cpu: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.97
    lag_s: NotNegative = 1.0
    files: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.97


class Overload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When newcomers are told to come back later (HTTP 503, RTMP `NetStream.Play.Failed` and `NetStream.Publish.Failed`)."""

    viewers: Bounds = Bounds()
    publishers: PublisherBounds = PublisherBounds()


class Ring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of each live stream is kept in memory.

    seconds: enough for two GOPs of ten seconds and for the first HLS playlist at once.
    bytes_max: stops one stream of huge bit rate; 20 s of 12 Mbit/s.
    """

    seconds: Positive = 20.0
    bytes_max: PositiveInt = 32 * 1024 * 1024


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The certificate of the RTMPS and HTTPS listeners, as PEM files. Empty: a self-signed one, made at first start."""

    certificate: str = ""
    key: str = ""


class Acme(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Free certificates from an ACME authority (RFC 8555).

    directory: the authority, such as https://acme-v02.api.letsencrypt.org/directory; empty: no free certificates.
    agree_terms: true says that you agree to the authority's terms of service; without it no account is made there.
    email: where the authority may write to; may be empty.
    ca_file: a PEM file of roots that the authority's own HTTPS is checked with, instead of the system's; for one inside.
    eab_key_id, eab_hmac_key: binding to an account that you have at the authority, if it asks for that.
    challenge: how domains are checked unless a customer chooses: `http-01` or `dns-01`.
    settle_s: how long after an answer to a challenge was put into the store the authority is asked to look; a change is on
        every node within a second.
    retry_s: after a failed order the next one waits so long, then four times as long each time, up to a day. The default
        stays below the five failures an hour that Let's Encrypt allows for a name.
    retry_by_hand_s: how soon after the last order a customer who asks again gets a new one.
    orders_per_hour: new orders of all accounts together; Let's Encrypt allows 300 in three hours.
    """

    directory: str = ""
    agree_terms: bool = False
    email: str = ""
    ca_file: str = ""
    eab_key_id: str = ""
    eab_hmac_key: str = ""
    challenge: ChallengeType = "http-01"
    settle_s: NotNegative = 1.0
    retry_s: Positive = 60.0
    retry_by_hand_s: NotNegative = 300.0
    orders_per_hour: PositiveInt = 90


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """format: `auto` (text on a terminal, JSON otherwise), `text` or `json`. level: debug, info, warning, error."""

    format: str = "auto"
    level: str = "info"


class Ownership(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an account proves that it owns a domain (reference control-plane 3.6).

    exempt_suffixes: names under these need no proof. By default those that nobody can register (RFC 6761, RFC 9476); add
        the domains of a private network, or leave the list empty to ask for proof of everything.
    resolvers: DNS resolvers to ask, as `address` or `address:port`; empty means the system's. Several are all asked.
    query_timeout_s: how long one DNS question may take; it is asked twice.
    file_timeout_s: how long fetching the verification file may take, redirects included.
    private_addresses: let DNS and file checks connect to addresses that are not on the public internet. Off, so that
        nobody can use the checks to reach into the operator's network.
    dns_port, file_port: where name servers and the web server are asked; others than the standard ones are for tests.
    """

    exempt_suffixes: tuple[str, ...] = ("localhost", "test", "internal")
    resolvers: tuple[str, ...] = ()
    query_timeout_s: Positive = 2.0
    file_timeout_s: Positive = 10.0
    private_addresses: bool = False
    dns_port: Port = 53
    file_port: Port = 80


class Icp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ICP filings (reference control-plane 3.3).

    required: off, because only installations that serve mainland China are bound by the rule.
    endpoint: where filings are looked up, as `GET <endpoint>?domain=<registrable domain>`; empty means the operator's table.
    timeout_s: how long the endpoint may take.
    """

    required: bool = False
    endpoint: str = ""
    timeout_s: Positive = 5.0


class SharedClaims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A register of names that another Headwater keeps for several platforms; it is asked when a domain is added.

    url: that platform's operator API, such as https://register.example.com/operator/v1; empty: our own register is all.
    token: a token of that platform's, with read access.
    timeout_s: how long the register may take.
    required: no domain is added while the register does not answer. With false it is added all the same, and a warning logged.
    """

    url: str = ""
    token: str = ""
    timeout_s: Positive = 5.0
    required: bool = True


class Domains(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules of the domain product.

    cname_zone: the operator's zone in which every domain gets its CNAME target, `<domain>.<cname_zone>`.
    regions: the live centers on offer.
    quota: domains for each account (reference control-plane 3.2).
    quota_bandwidth_mbps: an account whose average daily peak exceeds this may ask for more (reference control-plane 3.2).
    leading_dot: allow names such as `.example.com`, which stand for every subdomain. Off, as the service's console has it.
    streams_per_domain: streams that may be live on one main streaming domain; a push beyond is cut. The service offers 20
        (reference control-plane 3.2); here it only keeps one domain from taking everything.
    edge_group_traffic_gb: a domain with more traffic in the last 24 hours keeps its edge group, because a change moves all
        its viewers to other nodes; 0 means no bound. The service has such a bound but documents no number; this is 100
        Mbit/s around the clock.
    """

    cname_zone: str = "w.headwater.internal"
    regions: tuple[str, ...] = (
        "cn-beijing",
        "cn-shanghai",
        "cn-shenzhen",
        "cn-qingdao",
        "ap-southeast-1",
        "eu-central-1",
        "ap-northeast-1",
        "ap-southeast-5",
    )
    quota: PositiveInt = 20
    quota_bandwidth_mbps: NotNegative = 50.0
    leading_dot: bool = False
    streams_per_domain: PositiveInt = 1000
    edge_group_traffic_gb: NotNegative = 1000.0
    ownership: Ownership = Ownership()
    icp: Icp = Icp()
    shared_claims: SharedClaims = SharedClaims()


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This machine as the others and DNS see it ([docs/dns.md](docs/dns.md)).

    id: unique among the nodes. Empty: the host name.
    region: one of `domains.regions`, or any other name that the operator's table of networks uses.
    latitude, longitude: degrees, north and east positive. Without them the country of the first public address is taken.
    addresses: public IPv4 and IPv6 addresses that DNS answers with. Empty: `public_host`, if that is an address.
    edge_group: `domestic` (mainland China) or `overseas`. Empty: the node serves domains of every edge group, for
        installations that do not part the two.
    capacity_mbps: what the network can send; clients are spread in proportion.
    """

    id: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._-]{0,253}\Z")] = ""
    region: str = ""
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)] | None = None
    addresses: tuple[str, ...] = ()
    edge_group: Literal["", "domestic", "overseas"] = ""
    capacity_mbps: PositiveInt = 1000


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator says of the addresses on either end of a connection, for the rules of who may push and play.

    trusted_proxies: networks of the operator's own proxies; their X-Forwarded-For and X-Forwarded-Proto are believed. None by
        default, because anybody can send these headers.
    staging_addresses: our own IP addresses by which staged domain configurations are tried
        ([docs/domain-functions.md](docs/domain-functions.md)); everybody else gets the production ones.
    private_auth_servers: customers' remote authentication servers may have addresses that are not public. Off, so that
        nobody reaches into the operator's network by naming one.
    """

    trusted_proxies: tuple[str, ...] = ()
    staging_addresses: tuple[str, ...] = ()
    private_auth_servers: bool = False


class Places(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where addresses are, for the choice of the nearest node and for region blocking ([docs/dns.md](docs/dns.md)).

    database: a file in MaxMind's format. Empty: the country database that Headwater brings along.
    networks: a CSV file of the operator's own networks, which comes before the database. Empty: none.
    """

    database: str = ""
    networks: str = ""


class Dns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The zone `domains.cname_zone` and how it is answered ([docs/dns.md](docs/dns.md)).

    nameservers: the names to which the zone is delegated, as `name` or, for names within the zone, `name=address/address`.
        Empty: `ns1.<zone>` with the addresses of this node.
    hostmaster: the mail address in the SOA record. Empty: `hostmaster@<zone>`.
    records: a file of more records, in the format of zone files. Empty: none.
    ttl_s: of addresses and texts: how long a dead node may stay in resolvers' memory.
    negative_ttl_s: of "there is no such name": a domain that was just added is seen after so long at the latest.
    addresses_per_answer: of how many nodes the addresses are given, so that a client has a second one to try.
    udp_payload_bytes: longest answer by UDP; 1232 passes everywhere without fragments (DNS flag day 2020).
    same_answers_per_s, answers_per_s: what one network (/24 of IPv4, /56 of IPv6) gets by UDP: of one answer, and in all; 0
        means no bound. Resolvers keep answers, so a real one is far below; over it every second answer is cut short, which
        sends a real client to TCP, and the others are dropped.
    unlimited_networks: without these bounds: this machine, and proxies of the operator's that stand in front.
    """

    nameservers: tuple[str, ...] = ()
    hostmaster: str = ""
    records: str = ""
    ttl_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 30
    negative_ttl_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 30
    addresses_per_answer: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2
    udp_payload_bytes: Annotated[int, msgspec.Meta(ge=512, le=4096)] = 1232
    same_answers_per_s: Annotated[int, msgspec.Meta(ge=0)] = 50
    answers_per_s: Annotated[int, msgspec.Meta(ge=0)] = 2000
    unlimited_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")


class ObjectEndpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An S3-compatible object store behind the endpoints that templates name.

    endpoint: the OssEndpoint of templates that means this store, with `*` for any text, such as `*.aliyuncs.com` or just `*`.
    url: where the store is, such as https://oss-cn-shanghai.aliyuncs.com or http://127.0.0.1:9000; region: as it calls itself.
    access_key_id, secret_access_key: an access key that may write to the buckets.
    allow_http: the URL may be http, for a store on a trusted network.
    virtual_host: the bucket is a part of the host name (Alibaba Cloud OSS asks for that), not of the path.
    """

    endpoint: str
    url: str
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"
    allow_http: bool = False
    virtual_host: bool = False


class Objects(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where recordings and snapshots are stored ([docs/recording.md](docs/recording.md)).

    endpoints: object stores, the first whose pattern fits is taken. Buckets of every other endpoint are folders in
        `<data_dir>/objects`.
    uploads_at_once: files that are stored at the same time.
    """

    endpoints: tuple[ObjectEndpoint, ...] = ()
    uploads_at_once: PositiveInt = 4


class Shift(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the slices of time shift are stored ([docs/time-shift.md](docs/time-shift.md)); it is no bucket of customers'.

    endpoint, bucket: as in templates of recordings; by default the folder `<data_dir>/objects/headwater-shift`.
    """

    endpoint: str = "local"
    bucket: str = "headwater-shift"


class Usage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record of what each domain received and sent.

    retention_days: how long its points of five minutes are kept. The API answers for 90 days; two more cover time zones and
        clocks. A domain that is always in use costs some 26,000 rows, 2 MB.
    """

    retention_days: Annotated[int, msgspec.Meta(ge=31)] = 92


class Center(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The live center: transcoding, recording, snapshots, time shift ([docs/center.md](docs/center.md)).

    enabled: whether this node has one.
    transcode_cores: how many cores renditions may use together, measured while they run and estimated before; those beyond are
        refused, and their viewers get the source stream. 0: what media workers and everything else leave free, as measured.
    transcode_threads: of the decoder and of each encoder of a job. More let a stream use more cores at once, for a little
        more work and, in low-latency renditions, a little less quality; 1080p with H.265 needs them.
    transcode_nvenc: encode on an NVIDIA graphics card if its encoder can be opened.
    renditions_max: how many renditions a domain may have at once; viewers of those beyond get the source stream. 0: 300 in
        the live centers of Beijing, Shanghai and Shenzhen, 50 in others, as the service documents.
    private_pictures: pictures of watermarks may come from servers whose addresses are not public. Off, so that nobody
        reaches into the operator's network by naming one.
    private_edge_urls: jobs of edge transcoding may read from and publish to addresses that are not public. Off, for the same
        reason.
    idle_s: how long a rendition that only viewers want goes on without any: whoever reloads the page, or looks at another
        quality for a moment, should not wait for an encoder that starts again. Players of HLS ask at least every 15 s.
    wait_s: how long a viewer waits for a rendition that has to be started; players give up after some 10 s.
    spool: the folder for files that are being made, and for those that are not uploaded yet. Empty: `spool` in data_dir.
    """

    enabled: bool = True
    transcode_cores: NotNegative = 0.0
    transcode_threads: PositiveInt = 1
    transcode_nvenc: bool = True
    renditions_max: Annotated[int, msgspec.Meta(ge=0)] = 0
    private_pictures: bool = False
    private_edge_urls: bool = False
    idle_s: NotNegative = 30.0
    wait_s: NotNegative = 10.0
    spool: str = ""


class Console(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The web console. proxies: addresses of proxies in front of it, whose X-Forwarded-For and X-Forwarded-Proto are believed.

    Behind a proxy that speaks HTTPS, cookies are marked Secure, and sign-ins are limited by the visitor's own address.
    """

    proxies: tuple[str, ...] = ()


class Api(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The API.

    limits_scale: multiplies the documented number of calls that an account may make of each operation in a second or minute; 0
        lifts these limits. They keep one account from taking the API from the others.
    """

    limits_scale: NotNegative = 1.0


class Notify(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Callbacks to customers' servers ([docs/callbacks.md](docs/callbacks.md)).

    private_addresses: these servers may have addresses that are not public. Off, so that nobody reaches into the operator's
        network by naming one.
    """

    private_addresses: bool = False


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration of one node.

    data_dir: database, key file, run-time sockets.
    database: a URL such as `postgresql://user:password@host/name`; empty: the SQLite file in data_dir, enough for one machine.
    workers: media worker processes; 0 means one for each core.
    public_host: the address or name that ready-made URLs show when a domain name does not resolve.
    drain_s: how long a stopping node waits for its connections to take their last bytes.
    """

    data_dir: str = "./data"
    database: str = ""
    workers: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    public_host: str = "127.0.0.1"
    drain_s: NotNegative = 5.0
    listen: Listen = Listen()
    limits: Limits = Limits()
    overload: Overload = Overload()
    ring: Ring = Ring()
    tls: Tls = Tls()
    acme: Acme = Acme()
    log: Log = Log()
    domains: Domains = Domains()
    access: Access = Access()
    node: Node = Node()
    places: Places = Places()
    dns: Dns = Dns()
    objects: Objects = Objects()
    shift: Shift = Shift()
    usage: Usage = Usage()
    center: Center = Center()
    notify: Notify = Notify()
    api: Api = Api()
    console: Console = Console()


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`(?: - at `\$\.(?P<section>[^`]*)`)?")


def load(
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Iterable[tuple[str, str]] = (),
) -> Settings:
    """Read file, environment and overrides (dotted name, text), later ones winning. Raises SettingsError."""
    raw: dict[str, Any] = {}
    if file is not None:
        try:
            raw = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise SettingsError(f"cannot read {file}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file} is not TOML: {error}") from error
    for name, value in environ.items():
        if name.startswith(ENV_PREFIX):
            _set(raw, name[len(ENV_PREFIX) :].lower().split("__"), value, name)
    for name, value in overrides:
        _set(raw, name.split("."), value, name)
    try:
        settings = msgspec.convert(raw, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {_complaint(error)}") from error
    for network in settings.access.trusted_proxies:
        _check_address("access.trusted_proxies", network, ipaddress.ip_network)
    for address in settings.access.staging_addresses:
        _check_address("access.staging_addresses", address, ipaddress.ip_address)
    for name in Listen.__struct_fields__:
        listen_address(getattr(settings.listen, name), f"listen.{name}")
    shared = settings.domains.shared_claims
    if shared.url and not (shared.url.startswith(("http://", "https://")) and shared.token.isascii() and shared.token):
        raise SettingsError("domains.shared_claims: expected an http or https url, and a token of that platform's")
    for network in settings.dns.unlimited_networks:
        _check_address("dns.unlimited_networks", network, ipaddress.ip_network)
    for entry in settings.objects.endpoints:
        if not entry.url.startswith(("https://", "http://") if entry.allow_http else "https://"):
            raise SettingsError(f"objects.endpoints: `{entry.url}`: expected an https URL (or allow_http and an http URL)")
    for address in settings.node.addresses:
        _check_address("node.addresses", address, ipaddress.ip_address)
    return settings


def _set(raw: dict[str, Any], path: list[str], value: str, name: str) -> None:
    section = raw
    for part in path[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise SettingsError(f"{name}: `{part}` is not a section")
    section[path[-1]] = [item for item in value.split(",") if item] if _is_list(path) else value


def _complaint(error: msgspec.ValidationError) -> str:
    """What is wrong with a value; of a setting that there is not, which one may be meant."""
    unknown = _UNKNOWN.fullmatch(str(error))
    if unknown is None:
        return sentence(error)
    section = unknown["section"] or ""
    known = _fields(_type_of(section.split(".") if section else []))
    names = {name: f"{section}.{name}" if section else name for name in (unknown["name"], *known)}
    meant = [f" Do you mean {names[name]}?" for name in difflib.get_close_matches(unknown["name"], known, n=1)]
    return f"There is no setting {names[unknown['name']]}.{''.join(meant)}"


def _is_list(path: list[str]) -> bool:
    return getattr(_type_of(path), "__origin__", None) is tuple


def _type_of(path: list[str]) -> Any:
    """The type of a setting or of a section, None if there is none."""
    node: Any = Settings
    for part in path:
        node = _fields(node).get(part)
    return node


def _fields(node: Any) -> dict[str, Any]:
    is_section = isinstance(node, type) and issubclass(node, msgspec.Struct)
    return {field.name: field.type for field in msgspec.structs.fields(node)} if is_section else {}


def _check_address(name: str, text: str, kind: Callable[[str], object]) -> None:
    try:
        kind(text)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from error


def listen_address(text: str, name: str = "listen") -> tuple[str, int] | None:
    """`host:port` or `[v6]:port` as (host, port); None for the empty string. Raises SettingsError."""
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise SettingsError(f"{name}: expected host:port with a port from 1 to 65535, got `{text}`")
    if host != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError as error:
            raise SettingsError(f"{name}: the host must be an IP address or `localhost`, got `{host}`") from error
    return host, int(port)
