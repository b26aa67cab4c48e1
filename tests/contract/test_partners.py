"""Partners in the index: one for each name, certificate and site; and what is learned of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pacs_server.dicom.operations import OperationKind
from pacs_server.errors import Refused, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.operations import Operations
from pacs_server.index.site.partners import Partner, Partners

NOW = datetime(2026, 11, 26, 9, tzinfo=UTC)
OSAKA = Partner(name="osaka", host="192.0.2.5", port=11114, fingerprint="AA:01", aet="OSAKA", added_at=NOW)
KYOTO = Partner(name="kyoto", host="192.0.2.6", port=11114, fingerprint="BB:02", added_at=NOW)


@pytest.fixture
def partners(index: Index) -> Partners:
    return Partners(index)


def test_partners_are_read_back_as_they_were_added_by_name(partners: Partners) -> None:
    assert partners.all() == []
    for one in (OSAKA, KYOTO):
        partners.add(one)
    assert partners.all() == [KYOTO, OSAKA]
    assert partners.one("osaka") == OSAKA


def test_a_name_or_a_certificate_is_that_of_one_partner(partners: Partners) -> None:
    partners.add(OSAKA)
    partners.add(KYOTO)
    with pytest.raises(Refused, match="pacs partner set osaka"):
        partners.add(replace(OSAKA, fingerprint="CC:03"))
    with pytest.raises(Refused, match="pinned for the partner osaka already"):
        partners.add(replace(OSAKA, name="nara"))
    with pytest.raises(Refused, match="pinned for the partner osaka already"):
        partners.change("kyoto", {"fingerprint": OSAKA.fingerprint})
    assert partners.all() == [KYOTO, OSAKA]


def test_a_site_is_one_partner_whether_it_is_known_when_added_or_learned_later(partners: Partners) -> None:
    partners.add(replace(OSAKA, site_id="a1"))
    partners.add(KYOTO)
    with pytest.raises(Refused, match="that is the site of the partner osaka already"):
        partners.note_seen(KYOTO, certificate="PEM", site_id="a1")
    with pytest.raises(Refused, match="that is the site of the partner osaka already"):
        partners.add(Partner(name="nara", host="h", port=1, fingerprint="CC:03", site_id="a1", added_at=NOW))
    assert partners.one("kyoto") == KYOTO


def test_what_was_seen_is_noted_and_a_site_that_is_known_stays(partners: Partners) -> None:
    partners.add(OSAKA)
    partners.note_seen(OSAKA, certificate="PEM", site_id=None)
    assert partners.one("osaka") == replace(OSAKA, certificate="PEM")
    partners.note_seen(OSAKA, certificate="PEM", site_id="a1")
    partners.note_seen(OSAKA, certificate="PEM", site_id=None)
    assert partners.one("osaka") == replace(OSAKA, certificate="PEM", site_id="a1")


def test_what_was_seen_under_a_fingerprint_that_is_not_pinned_any_more_is_not_noted(partners: Partners) -> None:
    partners.add(OSAKA)
    partners.change("osaka", {"fingerprint": "DD:04"})
    partners.note_seen(OSAKA, certificate="PEM", site_id="a1")
    assert partners.one("osaka") == replace(OSAKA, fingerprint="DD:04")
    partners.remove("osaka")
    partners.note_seen(OSAKA, certificate="PEM", site_id="a1")
    assert partners.all() == []


def test_a_comparison_that_is_asked_for_is_left_until_one_that_began_later_was_made(partners: Partners) -> None:
    found = {"at": "2026-11-26T03:00:00+00:00", "here": 0, "there": 2}
    partners.add(OSAKA)
    partners.note_compared("osaka", found)
    assert partners.asked_to_compare("osaka") == ""
    partners.ask_to_compare("osaka", NOW)
    first = partners.asked_to_compare("osaka")
    partners.ask_to_compare("osaka", NOW + timedelta(milliseconds=1))
    partners.note_answered("osaka", first)
    second = partners.asked_to_compare("osaka")
    assert second not in ("", first)
    assert partners.compared("osaka") == found
    partners.note_answered("osaka", second)
    assert partners.asked_to_compare("osaka") == ""
    partners.ask_to_compare("osaka", NOW)
    partners.remove("osaka")
    partners.note_compared("osaka", found)  # by a comparison that ended only now
    partners.ask_to_compare("osaka", NOW)
    partners.add(replace(OSAKA, fingerprint="DD:04"))
    assert (partners.asked_to_compare("osaka"), partners.compared("osaka")) == ("", None)


def test_one_that_is_not_there_is_named_with_where_to_look(partners: Partners) -> None:
    for deed in (partners.one, partners.remove):
        with pytest.raises(UnknownName, match="pacs partner list"):
            deed("osaka")
    with pytest.raises(UnknownName, match="pacs partner list"):
        partners.change("osaka", {"port": 11115})


def test_a_site_has_one_id_and_tells_what_it_knows_of_each_site(index: Index) -> None:
    operations = Operations(index)
    site_id = operations.site_id()
    assert operations.log.state() == {}
    for _ in range(2):
        drafted = operations.draft(OperationKind.HOLD, "1.2.3", now=NOW, who="test", reason="r")
        operations.record(drafted, missed=(), now=NOW)
    operations.record(replace(drafted, site_id="ffff", counter=40), missed=(), now=NOW)
    assert operations.site_id() == site_id == drafted.site_id
    assert operations.log.state() == {site_id: (2, 2, 3), "ffff": (1, 40, 40)}
