"""The services that are offered: which SOP class is which operation, under which model, and the right it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pacs_server.dicom.queries.matching import Model
from pacs_server.index.site.peers import Right
from pacs_server.net.negotiate import VERIFICATION

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One SOP class of ours besides storage. `model` is None where no information model is involved."""

    right: Right
    model: Model | None = None


# Source: PS3.4 section A.4 (Verification), J.3 (Storage Commitment Push Model), C.6.1.3, C.6.2.3 and C.6.3.3
# (Query/Retrieve; the last one is retired).
SERVICES: Final[dict[str, Service]] = {
    VERIFICATION: Service(right=Right.ECHO),
    STORAGE_COMMITMENT: Service(right=Right.COMMIT),
    "1.2.840.10008.5.1.4.1.2.1.1": Service(right=Right.FIND, model=Model.PATIENT_ROOT),
    "1.2.840.10008.5.1.4.1.2.1.2": Service(right=Right.MOVE, model=Model.PATIENT_ROOT),
    "1.2.840.10008.5.1.4.1.2.1.3": Service(right=Right.GET, model=Model.PATIENT_ROOT),
    "1.2.840.10008.5.1.4.1.2.2.1": Service(right=Right.FIND, model=Model.STUDY_ROOT),
    "1.2.840.10008.5.1.4.1.2.2.2": Service(right=Right.MOVE, model=Model.STUDY_ROOT),
    "1.2.840.10008.5.1.4.1.2.2.3": Service(right=Right.GET, model=Model.STUDY_ROOT),
    "1.2.840.10008.5.1.4.1.2.3.1": Service(right=Right.FIND, model=Model.PATIENT_STUDY_ONLY),
    "1.2.840.10008.5.1.4.1.2.3.2": Service(right=Right.MOVE, model=Model.PATIENT_STUDY_ONLY),
    "1.2.840.10008.5.1.4.1.2.3.3": Service(right=Right.GET, model=Model.PATIENT_STUDY_ONLY),
}
