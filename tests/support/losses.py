"""What is left after a loss: the objects that an archive gives back, those that lie on a volume, and whether new ones
are taken.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from support.samples import CT, Sample, data_set_of, tiny, write
from support.second_client import Witness, associate, identifier, send
from support.server import Archive

STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_ATTEMPTS = 3


def given_back(archive: Archive, samples: Sequence[Sample]) -> set[str]:
    """Those of these CT objects that come by C-GET of their studies, each as it was sent."""
    witness = Witness()
    contexts = [(STUDY_GET, [ImplicitVRLittleEndian]), (CT, [ExplicitVRLittleEndian])]
    handlers = [(evt.EVT_C_STORE, witness.take)]
    for study in dict.fromkeys(sample.study_uid for sample in samples):
        for _ in range(_ATTEMPTS):  # pynetdicom's reactor takes a response now and then, as in second_client.py
            with associate(archive, contexts, as_receiver=[CT], handlers=handlers) as association:
                answers = association.send_c_get(identifier("STUDY", StudyInstanceUID=study), STUDY_GET)
                if "Status" in [status for status, _ in answers][-1]:
                    break
    sent = {sample.sop_uid: sample.data_set for sample in samples}
    came = [one for one in witness.received if one.sop_uid in sent]
    assert all(one.data_set == sent[one.sop_uid] for one in came)
    return {one.sop_uid for one in came}


def whole_on(volume: Path, samples: Sequence[Sample]) -> set[str]:
    """Those of these objects that are whole in a file of a volume; a server may remove files meanwhile."""
    sent = {sample.sop_uid: sample.data_set for sample in samples}
    whole = set()
    for folder, _, names in os.walk(volume / "v1"):
        for name in names:
            uid = name.rpartition("-")[0]
            with suppress(FileNotFoundError):
                if uid in sent and name.endswith(".dcm") and data_set_of(Path(folder, name)) == sent[uid]:
                    whole.add(uid)
    return whole


def new_sample(folder: Path, **values: object) -> Sample:
    """One more object, in a file beside those that were made before."""
    folder.mkdir(exist_ok=True)
    number = len(list(folder.iterdir()))
    return write(tiny(number, ImageComments="x" * 900, **values), folder / f"{number}.dcm")


def takes(archive: Archive, sample: Sample) -> bool:
    """Whether an archive takes an object."""
    return list(send(archive, [sample]).values()) == [0]
