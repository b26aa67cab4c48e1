"""Every storage SOP class and every transfer syntax of the standard goes in, and comes out with the bytes it had."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from pynetdicom import evt
from support.samples import Sample, class_samples, data_set_of, syntax_samples
from support.second_client import Witness, associate, identifier, send
from support.server import Archive

MOVE, GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT = "1.2.840.10008.1.2"
SUCCESS = 0x0000
GROUP = 100  # classes of one association, which has at most 128 contexts

MAKERS = (class_samples, syntax_samples)


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def stored(request: pytest.FixtureRequest, archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    samples: list[Sample] = request.param(tmp_path_factory.mktemp("kinds"))
    assert set(send(archive, samples).values()) == {SUCCESS}
    return samples


def expected(samples: Sequence[Sample]) -> dict[str, tuple[str, bytes]]:
    return {sample.sop_uid: (sample.transfer_syntax, data_set_of(sample.path)) for sample in samples}


def received(witness: Witness) -> dict[str, tuple[str, bytes]]:
    return {one.sop_uid: (one.transfer_syntax, one.data_set) for one in witness.received}


def test_the_stored_file_holds_the_bytes_as_received(stored: list[Sample], archive: Archive) -> None:
    files = {path.name.rsplit("-", 1)[0]: path for path in archive.files()}
    for sample in stored:
        assert data_set_of(files[sample.sop_uid]) == data_set_of(sample.path), sample.path.name


def test_c_move_brings_them_back(stored: list[Sample], archive: Archive) -> None:
    witness = Witness(aet=f"WITNESS{len(stored)}", syntaxes=sorted({sample.transfer_syntax for sample in stored}))
    with witness.running(), associate(archive, [(MOVE, [IMPLICIT])]) as association:
        archive.add_peer(witness.aet, witness.port)
        asked = identifier("STUDY", StudyInstanceUID=stored[0].study_uid)
        *_, (last, _) = association.send_c_move(asked, witness.aet, MOVE)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (SUCCESS, len(stored))
    assert received(witness) == expected(stored)


def test_c_get_brings_them_back(stored: list[Sample], archive: Archive, tmp_path: Path) -> None:
    witness = Witness()
    syntaxes = sorted({sample.transfer_syntax for sample in stored})
    for syntax in syntaxes:
        some = [sample for sample in stored if sample.transfer_syntax == syntax]
        for start in range(0, len(some), GROUP):
            get(archive, some[start : start + GROUP], syntax, witness)
    assert received(witness) == expected(stored)


def get(archive: Archive, samples: Sequence[Sample], syntax: str, witness: Witness) -> None:
    classes = sorted({sample.sop_class for sample in samples})
    contexts = [(GET, [IMPLICIT]), *((sop_class, [syntax]) for sop_class in classes)]
    with associate(archive, contexts, as_receiver=classes, handlers=[(evt.EVT_C_STORE, witness.take)]) as association:
        asked = identifier("IMAGE", SOPInstanceUID=[sample.sop_uid for sample in samples])
        *_, (last, _) = association.send_c_get(asked, GET)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (SUCCESS, len(samples))
