"""The checks of `pacs doctor`: what each finds wrong, and its remedy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pacs_server.cli.config import absent, named_files
from pacs_server.cli.storage import mount_problems
from pacs_server.errors import BadQuery, ConfigError, IndexUnavailable, PacsError, Undecodable
from pacs_server.ownership import unreadable

if TYPE_CHECKING:
    from pacs_server.service.assemble import Node
    from pacs_server.settings import Settings

Problem = tuple[str, str]
# Decisions are ordered by counters, not clocks; but so far apart, what people read of both sites misleads them.
_CLOCK_S: Final = 60.0
# The alarms that no other check looks for.
_OF_SERVER: Final = ("self-check", "index", "disk")
# Nodes of one archive see from each other's times that they live; silence of 15 s is death.
_NODE_CLOCK_S: Final = 5.0


def of_settings(settings: Settings, path: Path) -> Iterator[Problem]:
    """What settings that can be read name and is not there, or the server cannot read though root can: it goes on with
    what it has read until it is started anew.
    """
    for told in absent(settings):
        yield told, "put it there, or correct the line"
    tls, alert = settings.tls_files, settings.alert
    files = [path, *(file for _, file in named_files(settings)), tls.certificate, tls.key, tls.ca]
    secrets = settings.database_password_file, settings.patroni.password_file, alert.mail.password_file
    files += [settings.data_dir / file for file in secrets if file is not None]
    yield from _unreadable(settings, files)


def _unreadable(settings: Settings, files: Iterable[Path]) -> Iterator[Problem]:
    user, unread = unreadable(settings.data_dir, filter(os.path.exists, dict.fromkeys(files)))
    for file in unread:
        yield (
            f"{file} cannot be read by {user}, the user of the server",
            f"chown {user}: {file}; the folders above it have to let {user} in",
        )


def of_patroni(settings: Settings) -> Iterator[tuple[str, list[Problem]]]:
    """The checks of a database that Patroni runs, each by its name; none where the settings name no Patroni."""
    from pacs_server.cluster.patroni import Patroni
    from pacs_server.cluster.patroni_checks import checks
    from pacs_server.errors import PatroniUnavailable

    if not settings.patroni.urls:
        return
    try:
        state = Patroni(settings.patroni).status()
    except PatroniUnavailable as error:
        yield "patroni members", [(str(error), "systemctl status patroni there, and patroni.urls in pacs.yaml")]
    else:
        yield from checks(state, settings.database, datetime.now(UTC))


def _writing(node: Node) -> Iterator[Problem]:
    """Whether the database takes what is new: one that only answers looks well, and its alarm comes a minute later."""
    from pacs_server.cli.db_check import writing_problems

    yield from ((result, remedy) for result, remedy, _ in writing_problems(node.index))


def _durability(node: Node) -> Iterator[Problem]:
    """What of the database the promise does not bear: its settings, a second server that takes writes or could not take
    over, lost rows.
    """
    from pacs_server.index.maintenance.checking import hindrances, left_behind, unsafe_settings
    from pacs_server.index.promotion import promoted_at, unknown_study
    from pacs_server.service.present import short_of_room

    if problem := short_of_room(node.settings):
        yield problem, f"df {node.settings.data_dir}"
    if (since := promoted_at(node.index)) is not None:
        yield (
            f"the database was promoted, or restored on another server, at {since:%Y-%m-%d %H:%M} UTC: it may lack "
            "the last rows of the former one",
            "pacs reconcile --repair, a quarter of an hour after that or later",
        )
    if (unknown := unknown_study(node.index)) is not None:
        yield (
            f"volume {unknown.volume} has a study that the index does not know, seen at "
            f"{unknown.noted_at:%Y-%m-%d %H:%M} UTC ({unknown.folder}): was the index set back to an older state?",
            "pacs reconcile --repair, a quarter of an hour after that or later",
        )
    for told in left_behind(node.index):
        yield told, "end it, and make it a standby: docs/operate/postgresql.md"
    if not node.settings.patroni.urls:  # which tells of its members itself
        for why in filter(None, hindrances(node.index).values()):
            yield why, "start it, or make the standby anew: docs/operate/postgresql.md"
    for name, value in unsafe_settings(node.index).items():
        yield (
            f"{name} of the database is {value}: a power cut may take what was acknowledged",
            f"{name} = on in postgresql.conf there, then reload it"
            if node.index.database_path is None
            else "end other programs that have its file open, then restart pacs serve",
        )


def _server(node: Node) -> Iterator[Problem]:
    from pacs_server.service.monitoring.alarm_book import standing_alarms
    from pacs_server.service.sighted import states_of
    from pacs_server.service.telling import serving

    if serving(node.settings.data_dir) is None:
        yield "no server runs here", "pacs serve"
        return
    states = states_of(node)
    well = {one.spec.name for one in node.volumes() if one.spec.id in states and not states[one.spec.id].reason}
    for alarm in standing_alarms(node.settings.data_dir):
        if alarm["gone_since"]:  # it stands for some minutes more, in case it comes back
            continue
        # A volume may fail in one folder alone, which no look at it shows.
        if alarm["kind"] in _OF_SERVER or (alarm["kind"] == "volume" and alarm["about"] in well):
            yield str(alarm["text"]), "pacs alert list"


def _volumes(node: Node) -> Iterator[Problem]:
    from pacs_server.service.sighted import states_of

    for row in mount_problems(node, states_of(node)):
        yield f"{row['volume']}: {row['problem']}", str(row["remedy"])
    known = {volume.spec.name for volume in node.volumes()}
    for name in node.settings.volume_paths.keys() - known:
        yield f"volume_paths names {name}, but no volume has that name", "pacs storage list, then pacs.yaml"


def _nodes(node: Node) -> Iterator[Problem]:
    """Nodes of this archive that are gone, or that misunderstand each other: by their clocks, by their releases."""
    from pacs_server.service.present import nodes_of

    now = datetime.now(UTC)
    if (told := node.nodes.clock()) is not None and abs(ahead_s := (now - told).total_seconds()) > _NODE_CLOCK_S:
        yield f"the clock of this node is {ahead_s:+.0f} s from that of the database", "set both by NTP"
    nodes, now = nodes_of(node, now), datetime.now(UTC)
    for one in nodes:
        ahead_s = (datetime.fromisoformat(str(one["seen_at"])) - now).total_seconds()
        if one["state"] == "silent":
            yield (
                f"{one['name']} was last seen at {one['seen_at']}",
                "pacs serve there; where it does serve, set its clock by NTP; a week later it is forgotten",
            )
        elif ahead_s > _NODE_CLOCK_S:  # it would count as serving for as long after its end
            yield f"the clock of {one['name']} is {ahead_s:+.0f} s from ours", "set both by NTP"
    if len(releases := sorted({str(one["release"]) for one in nodes if one["state"] == "serving"})) > 1:
        yield f"the nodes run different releases: {', '.join(releases)}", "install one release on every node"


def _domains(node: Node) -> Iterator[Problem]:
    """Fault domains that are not what they say: volumes of one device, and fewer of them than copies are wanted."""
    from pacs_server.storage.mounts import footing_of, mount_table

    table = mount_table()
    first: dict[str, tuple[str, str]] = {}
    for volume in node.volumes():
        spec, footing = volume.spec, footing_of(volume.spec.path, table)
        if footing is None or not volume.state.is_readable:
            continue
        other, domain = first.setdefault(footing.device, (spec.name, spec.domain))
        if domain != spec.domain:
            yield (
                f"{spec.name} is on the device of {other}, but in another fault domain",
                f"pacs storage set {spec.name} --domain {domain}",
            )
    want = node.policies().greatest_want
    if want > (number := len({volume.spec.domain for volume in node.volumes()})):
        yield f"{want} copies are wanted, but there are {number} fault domains", "pacs storage add"


def _copies(node: Node) -> Iterator[Problem]:
    from pacs_server.service.present import backlog_of, lacking_for_long

    backlog = backlog_of(node)
    if backlog["lacking_copies"] and (lacking := lacking_for_long(node, datetime.now(UTC))):
        yield f"{lacking} objects have fewer copies than are wanted", "pacs jobs list"
    if damaged := backlog["damaged_copies"]:
        yield f"{damaged} copies are damaged", "pacs verify"
    for one in backlog["archives"]:
        if lost := one["not_given_back"]:
            yield f"{one['aet']} did not give back {lost} objects that it keeps", "docs/operate/tiers.md"
    for error in sorted({job.error for job in node.jobs.listed() if job.kind == "deposit" and job.error}):
        yield error, "pacs jobs list"


def _uids(node: Node) -> Iterator[Problem]:
    from pacs_server.index.queries.view import studies_with_uids_of_others

    if found := studies_with_uids_of_others(node.index):
        yield (
            f"{found} studies have objects under the UIDs of objects of other studies",
            "pacs conflicts list; docs/operate/peers.md",
        )


def _sends(node: Node) -> Iterator[Problem]:
    from pacs_server.archive.routing import selection
    from pacs_server.index.sending.backlogs import backlogs

    for route in node.routes().values():
        try:
            selection(route, node.vocabulary())
        except BadQuery as error:  # a partner's route may ask for a field that was not added here
            yield f"the route {route.name} forwards nothing: {error}", "pacs index fields list"
    yield from _logins(node)
    if dead := node.sendings.open_counts()["dead"]:
        yield f"{dead} objects were not sent, and are tried no more", "pacs send list; then pacs send retry, or drop"
    for one in backlogs(node.index):
        if one.waiting and one.is_failing:
            yield f"{one.waiting} objects wait for {one.destination}: {one.error}", f"pacs doctor {one.destination}"


def _logins(node: Node) -> Iterator[Problem]:
    """Passcodes that cannot be read: a registration that a partner made may name a file that is not here."""
    from pacs_server.settings import secret_in

    peers = node.registry.peers()
    yield from _unreadable(node.settings, (Path(peer.passcode_file) for peer in peers if peer.as_user))
    for peer in peers:
        try:
            if peer.as_user:
                secret_in(Path(peer.passcode_file))
        except ValueError as error:
            yield f"{peer.aet} cannot be called: {error}", f"pacs ae set {peer.aet} --passcode-file FILE"


def _partners(node: Node) -> Iterator[Problem]:
    """Partners that are away, that objects do not get to, or whose clock differs."""
    from pacs_server.service.present import partners_of

    partners, failing = partners_of(node), node.outbox.failing()
    for one in partners:
        if one["problem"] and one["state"] != "paused":
            yield f"{one['name']}: {one['problem']}", f"pacs partner show {one['name']}"
        elif (why := failing.get(str(one["name"]))) and one["state"] == "reachable":
            yield (
                f"{one['name']} does not get {one['behind_objects']} objects that it is owed: {why}",
                f"pacs ae test {one['aet']}, then pacs jobs list",
            )
        ahead_s = one["clock_ahead_s"]
        if isinstance(ahead_s, float) and abs(ahead_s) > _CLOCK_S:
            yield f"the clock of {one['name']} is {ahead_s:+.0f} s from ours", "set both by NTP"


def _certificates(node: Node) -> Iterator[Problem]:
    """This node's certificate and authority, where partners or peers are shown them."""
    from pacs_server.net.secure import distrust_of
    from pacs_server.net.tls import refuse_unusable
    from pacs_server.service.present import certificates_of, renewal_of_authority, validity_problem
    from pacs_server.settings import ClientCertificates

    settings, partners = node.settings, node.partners.all()
    shown = settings.tls.port is not None or settings.partner.port is not None
    if shown or partners or any(peer.uses_tls for peer in node.registry.peers()):
        then = ", then pacs partner set --fingerprint there" if partners else ""
        of_another = settings.tls.certificate_file is not None
        remedy = ("a new one of the site's authority in its place" if of_another else "pacs tls init --yes") + then
        try:
            rows = list(certificates_of(settings.tls_files))
            refuse_unusable(settings.tls_files)
            asks = settings.tls.port is not None and settings.tls.client_certificates != ClientCertificates.NONE
            distrust = distrust_of(settings.tls_files) if asks else ""
        except ConfigError as error:
            yield str(error), remedy if of_another else "pacs tls init"
            return
        for row in rows:
            if problem := validity_problem(row):
                yield problem, renewal_of_authority(settings) if row["name"] == "authority" else remedy
        if distrust:
            files = settings.tls_files
            yield (
                f"who trusts {files.ca} refuses the certificate {files.certificate}: {distrust}",
                "the certificates between it and the authority's behind it in its file",
            )


def _failover(node: Node) -> Iterator[Problem]:
    """That a person may have forgotten to end."""
    from pacs_server.index.site.draining import draining_of
    from pacs_server.service.partners.unfinished import unfinished

    if (left := unfinished(node)) is not None:
        yield f"a failover to {left.target} is unfinished", f"pacs failover to {left.target}, or pacs failover abandon"
    elif (draining := draining_of(node.index)) is not None:
        yield (
            f"no new associations are taken since {draining.since:%Y-%m-%d %H:%M} UTC",
            "pacs failover demote here --end",
        )


def _codecs(node: Node) -> Iterator[Problem]:
    """Whether pictures are what they were after each codec that is installed."""
    from pacs_server.codecs.trial import failures

    for picture, why in failures(node.settings.transcoding):
        yield f"a picture cannot be sent compressed ({picture}): {why}", "install another release of imagecodecs"


def _audit(node: Node) -> Iterator[Problem]:
    """The key with which the daily checkpoints are signed, without which none is taken."""
    from pacs_server.service.upkeep.checkpoints import last_checkpoint

    try:
        last_checkpoint(node)
    except ConfigError as error:
        yield str(error), "until then no checkpoint is taken: docs/operate/audit.md"
    except Undecodable as error:
        yield f"the last checkpoint cannot be read: {error}", "pacs audit verify"


CHECKS: Final[dict[str, Callable[[Node], Iterator[Problem]]]] = {
    "writing": _writing,
    "durability": _durability,
    "server": _server,
    "nodes": _nodes,
    "volumes": _volumes,
    "fault domains": _domains,
    "copies": _copies,
    "UIDs": _uids,
    "sends": _sends,
    "partners": _partners,
    "certificates": _certificates,
    "failover": _failover,
    "codecs": _codecs,
    "audit trail": _audit,
}
_REMEDIES: Final = {"settings": "pacs config check", "database": "pacs db current"} | dict.fromkeys(
    CHECKS, "pacs status"
)
# The settings name a database that no archive can use: every command says so, and ends.
_OF_SETTINGS: Final = {"database": "database in pacs.yaml"}


def told_of(error: PacsError, check: str) -> Iterator[Problem]:
    """What ended the checks, with its own remedy where it has one: what is named for the check may end with it too."""
    if isinstance(error, IndexUnavailable) and error.remedy:
        yield error.problem, error.remedy
    elif isinstance(error, ConfigError):
        yield from ((one, _OF_SETTINGS.get(check, _REMEDIES[check])) for one in error.problems)
    else:
        yield str(error), _REMEDIES[check]
