"""Lets an archive server keep objects without one, as it is written down once it has given them back."""

from collections.abc import Iterable, Sequence

from support.samples import Sample
from support.site import NOW

from pacs_server.archive.retire import Decider
from pacs_server.dicom.deposits import Deposit, Stub, stub_values
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.identity import AeTitle
from pacs_server.dicom.operations import Content, OperationKind
from pacs_server.index.deposits import Depositable, Deposits
from pacs_server.index.recording.instances import Instances
from pacs_server.index.site.peers import Peer
from pacs_server.storage.volume import Volume

FAR = "FAR"
FAR_PEER = Peer(aet=AeTitle(FAR), host="127.0.0.1", port=1, rights=frozenset(), sources=())


def kept(
    samples: Iterable[Sample], deposits: Deposits, instances: Instances, volumes: Sequence[Volume], aet: str = FAR
) -> None:
    """Let an archive server keep the current contents of these objects."""
    for sample in samples:
        of_series = deposits.of_series(sample.study_uid, sample.series_uid, aet)
        one = next(one for one in of_series if one.sop_uid == sample.sop_uid and one.role == "current")
        by = Decider(who="server", reason="test", now=NOW, operations=instances.operations, volumes=volumes)
        deposit = Deposit(aet=aet, transaction_uid="1.2.3", stubs=(stub_of(one, sample),))
        content = Content(sop_uid=one.sop_uid, digest=one.digest, role=one.role)
        by.decide(OperationKind.DEPOSIT, sample.study_uid, [content], deposit=deposit)


def stub_of(one: Depositable, sample: Sample) -> Stub:
    scanner = HeadScanner(sample.transfer_syntax)
    scanner.feed(sample.data_set)
    return Stub(
        sop_uid=one.sop_uid, digest=one.digest, transfer_syntax=sample.transfer_syntax, size_bytes=one.size_bytes,
        received_at=one.received_at, day=one.day, sender=one.sender, values=stub_values(scanner.head()),
    )  # fmt: skip
