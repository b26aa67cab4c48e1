"""What becomes of the volumes of a backup, by what is at their paths now."""

from dataclasses import replace

from pacs_server.archive.restoring import Becomes, VolumePlan, plan_volumes
from pacs_server.index.site.registry import VolumeMode, VolumeRow
from pacs_server.storage.sentinel import Place

NAS1 = VolumeRow(id="1", name="nas1", path="/nas1", tier="warm", domain="a", mode=VolumeMode.DRAINING, high_water=80)
NAS2 = VolumeRow(id="2", name="nas2", path="/nas2", tier="hot", domain="b", damaged_count=12, damaged_on="2026-01-02")
FRESH = VolumeRow(id="9", name="first", path="/data/volumes/first", tier="hot", domain="first")


def planned(*present: VolumeRow, **places: Place) -> list[VolumePlan]:
    """The plan for a backup with both NAS; `places` are what is at /nas1, /nas2, /other and at the fresh volume."""
    at = {FRESH.path if name == "fresh" else f"/{name}": place for name, place in places.items()}
    return plan_volumes([NAS1, NAS2], present, lambda row: at.get(row.path, Place()))


def told(plans: list[VolumePlan]) -> list[tuple[str, str, Becomes]]:
    return [(plan.row.name, plan.row.id, plan.becomes) for plan in plans]


def test_volumes_that_are_there_stay_and_an_empty_new_one_is_not_wanted() -> None:
    plans = planned(FRESH, nas1=Place(volume_id="1"), nas2=Place(volume_id="2"), fresh=Place(volume_id="9"))
    assert [plan.row for plan in plans] == [NAS1, NAS2]
    assert {plan.becomes for plan in plans} == {Becomes.KEPT}


def test_a_new_one_with_objects_is_kept_too_under_a_name_of_its_own() -> None:
    namesake = replace(FRESH, name="nas1")
    plans = planned(
        namesake,
        nas1=Place(volume_id="1"),
        nas2=Place(volume_id="2"),
        fresh=Place(volume_id="9", has_objects=True),
    )
    assert told(plans)[2:] == [("nas1-2", "9", Becomes.ADDED)]


def test_one_that_is_mounted_elsewhere_is_found_by_its_sentinel() -> None:
    moved = VolumeRow(id="2", name="renamed", path="/other", tier="cold", domain="c")
    plans = planned(moved, nas1=Place(volume_id="1"), other=Place(volume_id="2"))
    assert plans[1].becomes is Becomes.FOUND
    assert plans[1].row == replace(NAS2, path="/other")
    assert len(plans) == 2


def test_an_empty_directory_becomes_a_volume_with_the_place_of_the_one_that_is_gone() -> None:
    plans = planned(nas1=Place(is_empty=True), nas2=Place(volume_id="2"))
    assert told(plans) == [("nas1", "", Becomes.MADE), ("nas2", "2", Becomes.KEPT)]
    made = plans[0].row
    assert (made.tier, made.domain, made.high_water, made.mode) == ("warm", "a", 80, VolumeMode.NORMAL)


def test_another_volume_at_the_path_takes_its_place_and_starts_with_a_clean_slate() -> None:
    plans = planned(nas1=Place(volume_id="1"), nas2=Place(volume_id="7", has_objects=True))
    assert told(plans)[1] == ("nas2", "7", Becomes.REPLACED)
    assert (plans[1].row.damaged_count, plans[1].former_id) == (0, "2")


def test_volumes_that_were_exchanged_do_not_take_each_others_place() -> None:
    plans = planned(nas1=Place(volume_id="2"), nas2=Place())
    assert told(plans) == [("nas1", "1", Becomes.GONE), ("nas2", "2", Becomes.FOUND)]
    assert plans[1].row.path == "/nas1"


def test_what_this_archive_has_takes_part_when_one_is_gone_for_good() -> None:
    plans = planned(FRESH, nas2=Place(volume_id="2"), fresh=Place(volume_id="9"))
    assert told(plans) == [
        ("nas1", "1", Becomes.GONE),
        ("nas2", "2", Becomes.KEPT),
        ("first", "9", Becomes.ADDED),
    ]
    assert [plan.becomes for plan in planned(FRESH, nas2=Place(volume_id="2"))] == [Becomes.GONE, Becomes.KEPT]


def test_one_that_moved_into_a_bucket_is_found_there_with_all_that_leads_there() -> None:
    where = {"endpoint": "https://s3.example.org", "region": "north", "credentials_file": "/etc/pacs/s3.keys"}
    moved = VolumeRow(id="2", name="nas2", path="/other", tier="hot", domain="b", **where)
    plans = planned(moved, nas1=Place(volume_id="1"), other=Place(volume_id="2"))
    assert plans[1].row == replace(NAS2, path="/other", **where)
