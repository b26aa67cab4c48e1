"""The files in config/ that other programs read: they agree with what the server does, and with what is documented."""

import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import yaml

from pacs_server.cluster.members import Member
from pacs_server.service.worker import DRAIN_S

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"


def test_every_file_of_config_that_is_named_somewhere_is_there() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))]
    named = {
        name for text in texts for name in re.findall(r"config/[\w./-]+\.(?:yaml|service|socket|Dockerfile)", text)
    }
    assert "config/systemd/pacs.service" in named
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []


def test_systemd_gives_running_operations_the_time_that_they_have() -> None:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(CONFIG / "systemd" / "pacs.service", encoding="utf-8")
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) > DRAIN_S + 5
    assert (service["Type"], service["KillMode"]) == ("notify", "mixed"), "only the supervisor is told to end"
    assert service["ExecStart"].split()[1:] == ["-c", "/etc/pacs/pacs.yaml", "serve"]


def compose() -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((CONFIG / "cluster" / "compose.yaml").read_text(encoding="utf-8"))
    return told


def test_a_node_in_a_container_sees_mounts_of_the_host_come_and_go_and_makes_none_of_its_own() -> None:
    for name in ("pacs1", "pacs2"):
        node = compose()["services"][name]
        binds = [one for one in node["volumes"] if isinstance(one, dict)]
        assert [one["target"] for one in binds] == ["/mnt/nas1", "/mnt/nas2"]
        assert all(one["bind"] == {"propagation": "rslave", "create_host_path": False} for one in binds)
        assert node["hostname"] == name, "the name of a node stays the same when its container is made anew"
        assert float(node["stop_grace_period"].removesuffix("s")) > DRAIN_S + 5


def test_the_shipped_patroni_is_one_that_doctor_takes_and_synchronous() -> None:
    wanted = re.search(r"patroni\[etcd3\]>=([0-9.]+)", (CONFIG / "cluster" / "patroni.Dockerfile").read_text())
    assert wanted
    assert not Member(name="", role="", state="", version=wanted[1]).is_too_old
    told = yaml.safe_load((CONFIG / "cluster" / "patroni.yaml").read_text(encoding="utf-8"))
    assert told["bootstrap"]["dcs"]["synchronous_mode"] is True
    voters = [name for name in compose()["services"] if name.startswith("etcd")]
    assert [host.partition(":")[0] for host in told["etcd3"]["hosts"]] == voters
    assert len(voters) == 3
