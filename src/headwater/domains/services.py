"""The services of the domain product, gathered for those who call them: API, console and commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from headwater.cluster.centers import Centers
from headwater.cluster.interface import Cluster
from headwater.cluster.nodes import NodeList
from headwater.domains.accounts import AccountService
from headwater.domains.audit import AuditService
from headwater.domains.bindings import BindingService
from headwater.domains.blocks import BlockService
from headwater.domains.bucket_register import BucketService
from headwater.domains.buckets import Buckets
from headwater.domains.certificates import CertificateService
from headwater.domains.claims import ClaimService
from headwater.domains.cnames import CnameService
from headwater.domains.delays import DelayService
from headwater.domains.edge_transcoding import EdgeTranscodingService
from headwater.domains.filing_watch import FilingWatch
from headwater.domains.filings import FilingService
from headwater.domains.library import LibraryService
from headwater.domains.multi_stream import MultiStreamService
from headwater.domains.ownership import OwnershipService
from headwater.domains.plans import PlanPublisher
from headwater.domains.quota import QuotaService
from headwater.domains.record_content import RecordContentService
from headwater.domains.recording import RecordingService
from headwater.domains.service import DomainService
from headwater.domains.snapshots import SnapshotService
from headwater.domains.staging import StagingService
from headwater.domains.streams import StreamService
from headwater.domains.tags import TagService
from headwater.domains.tickets import TicketService
from headwater.domains.time_shift import TimeShiftService
from headwater.domains.tokens import TokenService
from headwater.domains.transcoding import TranscodingService
from headwater.domains.uploads import UploadService
from headwater.domains.usage import UsageService
from headwater.domains.users import UserService
from headwater.domains.watermarks import WatermarkService
from headwater.notify.configs import NotifyService
from headwater.notify.service import CallbackService
from headwater.settings import Settings
from headwater.store.database import Database
from headwater.store.objects import ObjectStores


@dataclass(frozen=True)
class Services:
    """The rooms that do the work."""

    accounts: AccountService
    domains: DomainService
    staging: StagingService
    blocks: BlockService
    streams: StreamService
    multi_stream: MultiStreamService
    tags: TagService
    certificates: CertificateService
    usage: UsageService
    bindings: BindingService
    ownership: OwnershipService
    claims: ClaimService
    filings: FilingService
    filing_watch: FilingWatch
    quota: QuotaService
    tickets: TicketService
    tokens: TokenService
    users: UserService
    audit: AuditService
    cnames: CnameService
    nodes: NodeList
    plans: PlanPublisher
    notify: NotifyService
    callbacks: CallbackService
    centers: Centers
    transcoding: TranscodingService
    edge_transcoding: EdgeTranscodingService
    watermarks: WatermarkService
    time_shift: TimeShiftService
    delays: DelayService
    snapshots: SnapshotService
    recording: RecordingService
    library: LibraryService
    record_content: RecordContentService
    buckets: BucketService
    uploads: UploadService


def build(database: Database, cluster: Cluster, settings: Settings, clock: Callable[[], float] = time.time) -> Services:
    """All services over one database and one store."""
    nodes = NodeList(cluster)
    usage = UsageService(database, settings.usage, clock)
    cnames = CnameService(database, settings.domains.ownership, settings.domains.cname_zone, nodes, clock)
    ownership = OwnershipService(database, settings.domains.ownership, cnames, clock)
    filings = FilingService(database, settings.domains.icp, clock)
    quotas = QuotaService(database, settings.domains, usage, clock)
    plans = PlanPublisher(database, cluster, settings.center.renditions_max)
    domains = DomainService(
        database,
        cluster,
        settings.domains,
        ownership=ownership,
        quotas=quotas,
        filings=filings,
        usage=usage,
        plans=plans,
        clock=clock,
    )
    centers = Centers(cluster)
    stores = ObjectStores(settings)
    buckets = Buckets(database, stores)
    return Services(
        accounts=AccountService(database, clock),
        domains=domains,
        blocks=BlockService(database, domains.publisher, clock),
        staging=StagingService(database, domains.publisher, clock),
        streams=StreamService(database, cluster, domains.publisher, settings.domains, clock),
        multi_stream=MultiStreamService(database, cluster, domains.publisher, clock),
        tags=TagService(database, clock),
        usage=usage,
        bindings=BindingService(database, domains.publisher, plans, clock),
        ownership=ownership,
        claims=ClaimService(database, clock),
        filings=filings,
        filing_watch=FilingWatch(database, domains, clock),
        quota=quotas,
        tickets=TicketService(database, quotas, ownership, clock),
        tokens=TokenService(database, clock),
        users=UserService(database, clock),
        audit=AuditService(database),
        cnames=cnames,
        notify=NotifyService(database, clock),
        callbacks=CallbackService(database, settings.notify, clock),
        nodes=nodes,
        plans=plans,
        centers=centers,
        transcoding=TranscodingService(database, cluster, plans, centers, settings.center.renditions_max, clock),
        edge_transcoding=EdgeTranscodingService(
            database, nodes, centers, allow_private=settings.center.private_edge_urls, clock=clock
        ),
        watermarks=WatermarkService(database, cluster, plans, private_pictures=settings.center.private_pictures, clock=clock),
        time_shift=TimeShiftService(database, plans, clock),
        delays=DelayService(database, plans, clock),
        snapshots=SnapshotService(database, plans, stores, buckets, centers, clock),
        recording=RecordingService(database, plans, buckets, centers, clock),
        library=LibraryService(database, plans, buckets, clock),
        record_content=RecordContentService(database, stores, buckets, clock),
        buckets=BucketService(database, stores, clock),
        uploads=UploadService(database, clock),
        certificates=CertificateService(database, domains.publisher, settings.acme, clock),
    )
