"""Everything that can go wrong, grouped by who has to act.

A message names the thing, the reason and the remedy. Protocol numbers do not belong here: each face keeps one
table from these classes to its own codes (dimse/status.py, cli/exits.py).
"""

from __future__ import annotations


class PacsError(Exception):
    """Base of all our errors; `retryable` says whether the same request may succeed later unchanged."""

    retryable = False


# --- The peer sent something that cannot be accepted ------------------------------------------------------------


class BadObject(PacsError):
    """The object cannot be stored as it is; the sender has to correct it."""


class InvalidUid(BadObject):
    """A SOP Instance UID is missing or not a UID."""


class ObjectMismatch(BadObject):
    """Command, presentation context and data set do not speak of the same object, or not in the same encoding."""


class Undecodable(BadObject):
    """The data set is damaged, truncated or not what its transfer syntax says."""


class NotAsGiven(BadObject):
    """An archive server gave back another content than it was given."""


class BadQuery(PacsError):
    """The identifier of a query or retrieve cannot be answered."""


class TooLarge(BadQuery):
    """The data set of a request is larger, or names more objects, than is worked on at once: ask in parts."""


class MissingAttribute(BadQuery):
    """The data set of a request lacks an attribute without which it says nothing."""


class PeerFailed(PacsError):
    """Another system did not let us associate with it, or what was begun with it could not be ended."""


class AssociationBroken(PeerFailed):
    """A connection that stood came to its end before what was under way on it."""


class ProtocolViolation(AssociationBroken):
    """The peer broke the upper layer or DIMSE protocol; the association is aborted."""


class PeerAborted(AssociationBroken):
    """The peer aborted the association or closed the connection."""


class PeerTimedOut(AssociationBroken):
    """The peer did not send or take data within the deadline of this phase."""

    retryable = True


class PeerUnreachable(PeerFailed):
    """No TCP connection to the peer: check its address, port and firewall."""

    retryable = True


class PeerRejected(PeerFailed):
    """The peer answered but rejected the association: check the AE titles on both sides."""


class WrongCertificate(PeerRejected):
    """The other side has another certificate than the one that was pinned: somebody else, or a new certificate."""


class PartnerRefused(PeerRejected):
    """The partner understood what was asked and refused it; the reason is its own."""


class NotProven(PacsError):
    """What was shown does not prove who somebody is; the reason is for our log alone."""


class Unconvertible(PacsError):
    """The object cannot be put into the wanted transfer syntax without loss; another one may do."""


# --- The operator has to change something -----------------------------------------------------------------------


class ConfigError(PacsError):
    """The configuration has problems; all of them are in `problems`, one sentence each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Refused(PacsError):
    """The request is unsafe or contradicts the present state, so nothing was done."""


class StillBusy(Refused):
    """What should end of itself went on beyond the time that was given, so nothing was done."""


class UnknownName(PacsError):
    """No peer, volume or DICOM entity of that name is known."""


class SchemaMismatch(PacsError):
    """The index has another schema than this release: run `pacs db upgrade`."""


class Busy(PacsError):
    """Another process holds what this one needs."""

    retryable = True


# --- Hardware or a service failed -------------------------------------------------------------------------------


class VolumeUnavailable(PacsError):
    """A volume is offline, hung or failed while it was used."""

    retryable = True


class VolumeFull(VolumeUnavailable):
    """A volume has no room left (space, quota or inodes)."""


class VolumeSilent(VolumeUnavailable):
    """A volume gave no answer that says anything of what was asked, and may give one at any moment."""


class VolumeAway(VolumeSilent):
    """Where the volume should be, nothing answers, or a server that cannot serve now."""


class DecoderUnavailable(PacsError):
    """No process that transcodes can be had now, which says nothing of the object that was to be transcoded."""

    retryable = True


class NotEnoughCopies(PacsError):
    """Fewer volumes took the object than the policy demands, so it is not acknowledged."""

    retryable = True


class NoHome(NotEnoughCopies):
    """No volume takes one more copy of an object, as long as the volumes of the site are as they are."""


class CopyUnreadable(PacsError):
    """A copy is missing, short or damaged on its volume."""


class CopyUnknown(CopyUnreadable):
    """A copy could not be read now, which says nothing of what it is."""


class CopyDiffers(PacsError):
    """What was copied is not what it was copied from; the copy was not kept."""


class IndexUnavailable(PacsError):
    """The database cannot be reached or refused the transaction. The `remedy`, where one is known, ends the message."""

    retryable = True

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}: {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy


class IndexUnreachable(IndexUnavailable):
    """The database is away, or does not answer in time: whatever else is asked of it now would fail as well."""


class IndexCutOff(IndexUnreachable):
    """A connection ended in its use, its commit may be on no standby, or its server takes no changes any more; the same
    may succeed at once.
    """


class IndexLocked(IndexUnreachable):
    """Somebody keeps a row or a table locked for longer than anybody waits; what does not need it may go through."""


class IndexConflict(IndexUnavailable):
    """Others changed the same rows or tables at the same moment; the same transaction may succeed at once."""


class IndexOvertaken(IndexUnavailable):
    """What was decided about an object rests on what its study showed a moment ago, and does not show any more."""


class IndexUnfit(IndexUnavailable):
    """The database cannot be used as it is, or as the settings name it: nothing helps but to change either."""


class IndexDamaged(IndexUnavailable):
    """The database is there, and what it keeps is broken."""

    usual_remedy = (
        "pacs restore-backup; or put the database aside, pacs db upgrade --new, pacs storage add for each volume, and "
        "pacs index rebuild"
    )


class PatroniUnavailable(PacsError):
    """Patroni's REST API does not answer, in time or as it should."""


class AlarmNotTold(PacsError):
    """A way by which alarms are told did not take one; it is tried again."""
