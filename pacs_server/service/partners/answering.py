"""What partners are answered, by the kind of their question."""

from __future__ import annotations

from datetime import UTC, datetime

from pacs_server import log
from pacs_server.cluster.exchange import LOG, PLACES, SharedLog, answer_log, answer_places
from pacs_server.cluster.link import Handler
from pacs_server.cluster.messages import HELLO, Body, hello_of, refuse_stranger
from pacs_server.cluster.pair import (
    CONTENT,
    OWE,
    STUDIES,
    SUMS,
    SumsAnswered,
    answer_content,
    answer_studies,
    series_asked_for,
)
from pacs_server.errors import Refused
from pacs_server.index.site.partners import Partner
from pacs_server.service.assemble import Node
from pacs_server.service.partners.pairing import own_hello, shared_logs


def answers(node: Node) -> dict[str, Handler]:
    """The handlers of this node."""
    sums = SumsAnswered(node.contents)
    schemas: dict[str, str] = {}  # of the releases of partners, by name: each greets before it asks

    def logs(partner: Partner) -> dict[str, SharedLog]:
        return shared_logs(node, datetime.now(UTC), schemas.get(partner.name, ""))

    return {
        HELLO: lambda partner, body: _answer_hello(node, partner, body, schemas),
        LOG: lambda partner, body: answer_log(body, logs(partner)),
        PLACES: lambda partner, body: answer_places(body, logs(partner)),
        SUMS: lambda _, body: sums.answer(body),
        STUDIES: lambda _, body: answer_studies(body, node.contents),
        CONTENT: lambda _, body: answer_content(body, node.contents),
        OWE: lambda partner, body: _answer_owe(node, partner, body),
    }


def _answer_hello(node: Node, partner: Partner, body: Body, schemas: dict[str, str]) -> Body:
    hello = hello_of(body)
    ours = own_hello(node, partner, datetime.now(UTC), schema=hello.schema)
    refuse_stranger(hello, own_site_id=ours.site_id, known_site_id=partner.site_id)
    schemas[partner.name] = hello.schema
    if partner.site_id is None:
        node.partners.note_seen(partner, certificate=partner.certificate, site_id=hello.site_id)
    if hello.seen and not node.contents.has(hello.seen):
        log.warning("compares with partner", partner=partner.name, why="it knows an object that is not here any more")
        node.partners.ask_to_compare(partner.name, datetime.now(UTC))
    return ours.body()


def _answer_owe(node: Node, partner: Partner, body: Body) -> Body:
    """Which of the series that the partner lacks are owed to it already. If it asks for that, all of them are owed
    then.
    """
    wanted = series_asked_for(body)
    owed = node.outbox.owed_of(partner.name, wanted)
    if body.get("heals") is True and wanted:
        if not partner.aet:
            raise Refused(f"it sends no objects to this partner: there, pacs partner set {partner.name} --aet AET")
        node.outbox.owe(partner.name, wanted, datetime.now(UTC))
    return {"owed": sorted(owed)}
