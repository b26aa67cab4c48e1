"""A layout file: read as it is documented, and all of its problems at once, each with its line."""

import re
from pathlib import Path

import pytest

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.cluster.layout import read_layout
from pacs_server.cluster.survive import Placement, Volume
from pacs_server.errors import ConfigError
from pacs_server.index.site.registry import Policy

ROOT = Path(__file__).parents[2]
LAYOUTS = sorted((ROOT / "config" / "layouts").glob("*.yaml"))
PAGE = (ROOT / "docs" / "operate" / "surviving.md").read_text(encoding="utf-8")
SMALL = "servers: {main: }\ndatabases: {index: {server: main}}\nvolumes: {nas1: , nas2: }\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(folder: Path, text: str) -> list[str]:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        read_layout(path)
    return [problem.replace(f"{path} ", "") for problem in caught.value.problems]


def test_what_is_not_said_is_as_documented(tmp_path):
    site = read_layout(write(tmp_path, SMALL + "policy: {want: 2}\n"))
    assert site.policy == Policy(want=2, need=2, degraded=1)
    assert site.volumes[0] == Volume(name="nas1", domain="nas1")
    assert (site.servers[0].databases, site.servers[0].volumes) == ({"index"}, {"nas1", "nas2"})
    assert site.placements == (Placement(volumes=frozenset({"nas1", "nas2"})),)


def test_what_is_in_another_server_is_not_used_unless_that_is_said(tmp_path):
    text = "servers: {a: , b: {volumes: [disk, nas], role: archive}}\ndatabases: {x: }\n"
    site = read_layout(write(tmp_path, text + "volumes: {disk: {server: a}, other: {server: b}, nas: {domain: far}}\n"))
    assert [(one.name, one.volumes, one.takes_new) for one in site.servers] == [
        ("a", {"disk", "nas"}, True),
        ("b", {"disk", "nas"}, False),
    ]
    assert site.volumes[2] == Volume(name="nas", domain="far")


def test_objects_may_lie_as_the_file_says(tmp_path):
    site = read_layout(write(tmp_path, SMALL + "objects:\n  - {on: [nas1], count: 12}\n  - {on: [nas1, nas2]}\n"))
    assert site.placements == (
        Placement(volumes=frozenset({"nas1"}), objects=12),
        Placement(volumes=frozenset({"nas1", "nas2"})),
    )


def test_without_objects_they_lie_in_each_way_that_the_policy_has(tmp_path):
    text = "servers: {a: }\ndatabases: {x: }\npolicy: {want: 2}\n"
    volumes = "volumes: {n1: {domain: d}, n2: {domain: d}, n3: , n4: {server: a, domain: d}}\n"
    ways = {one.volumes for one in read_layout(write(tmp_path, text + volumes)).placements}
    assert ways == {frozenset({"n1", "n3"}), frozenset({"n4", "n3"})}, "n1 and n2 are lost together, n4 also with a"


def test_all_problems_are_named_at_once_each_with_its_line(tmp_path):
    assert problems_of(
        tmp_path,
        """\
servers:
  a: {database: [x]}
  b: {volumes: [nas9], role: full}
  b: {}
  c: {role: spare}
databases:
volumes:
  nas1: {server: d}
  nas2: far
policy: {want: 2, need: 3}
objects:
  - {on: nas1}
  - {count: many}
objekts: 3
""",
    ) == [
        "line 14: objekts: unknown; the nearest is objects",
        "line 4: servers.b: is there twice",
        "line 6: databases: name at least one",
        "line 8: volumes.nas1.server: 'd' is none of a, b, c",
        "line 9: volumes.nas2: needs `name: value` lines below it",
        "line 2: servers.a.database: unknown; the nearest is databases",
        "line 3: servers.b.volumes: 'nas9' is none of nas1, nas2",
        "line 5: servers.c.role: 'spare' is none of full, archive",
        "line 10: policy: a policy of want 2, need 3, degraded 1 contradicts itself: 1 <= degraded <= need <= want",
        "line 12: objects.1.on: is a list of some of nas1, nas2",
        "line 13: objects.2: needs `on`: the volumes that have a copy of each of these objects",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "servers: name at least one"),
        (SMALL + "policy: {want: two}", "line 4: policy.want: needs a whole number"),
        (SMALL + "policy: 2", "line 4: policy: needs `name: value` lines below it"),
        (SMALL + "objects: {on: [nas1]}", "line 4: objects: is a list"),
        (SMALL + "objects: []", "line 4: objects: is a list"),
        (SMALL + "objects: [{on: [nas1], count: -3}]", "line 4: objects.1.count: needs a whole number"),
        (SMALL.replace("server: main", "server: [main]"), "line 2: databases.index.server: needs one name"),
        ("servers: [a", "line 1: expected"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, problem):
    assert any(problem in one for one in problems_of(tmp_path, text))


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_an_example_is_read_and_its_page_says_what_it_survives(path, capsys):
    assert f"config/layouts/{path.name}" in PAGE
    assert run(["doctor", "--survive", "3", "--layout", str(path)]) == ExitCode.DAMAGE
    told = dict(re.findall(r"^(data|retrieving|storing) +survives ([^;\n]+)", capsys.readouterr().out, re.M))
    row = re.search(rf"^\| `{re.escape(path.name)}` \|([^|]+)\|([^|]+)\|([^|]+)\|", PAGE, re.M)
    assert row, "a line of the table"
    assert [one.strip() for one in row.groups()] == [told[what] for what in ("data", "retrieving", "storing")]


def test_fewer_losses_than_are_survived_end_with_0_and_a_bad_file_with_10(tmp_path, capsys):
    hospital = str(ROOT / "config" / "layouts" / "hospital.yaml")
    assert run(["doctor", "--survive", "1", "--layout", hospital]) == ExitCode.DONE
    assert "12 losses of 1 of 12 parts" in capsys.readouterr().out
    assert run(["doctor", "--survive", "12", "--layout", hospital]) == ExitCode.DAMAGE
    assert "1 loss of 12 of 12 parts" in capsys.readouterr().out
    assert run(["doctor", "--survive", "1", "--layout", str(tmp_path / "none.yaml")]) == ExitCode.CONFIGURATION
    assert "config/layouts has examples" in capsys.readouterr().err
    assert run(["doctor", "--layout", hospital]) == ExitCode.REFUSED
    assert run(["doctor", "--survive", "0", "--layout", hospital]) == ExitCode.REFUSED
