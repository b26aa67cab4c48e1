"""The files in config/ that other programs read: they agree with what the server does, and with what is documented."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.server import wait_for

from pacs_server.cluster.members import Member
from pacs_server.service.processes.worker import DRAIN_S
from pacs_server.settings import HttpSettings

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
UNITS = CONFIG / "systemd"
PAGES = [*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")]


def test_every_file_of_config_that_is_named_somewhere_is_there() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))]
    named = {
        name for text in texts for name in re.findall(r"config/[\w./-]+\.(?:yaml|service|socket|Dockerfile)", text)
    }
    assert "config/systemd/pacs.service" in named
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []


# What says for which archive commands are: PACS_DATA, or settings where every command looks.
NAMING = ("export PACS_DATA=", "--data /etc/pacs", "ln -s /srv/pacs/pacs.yaml /etc/pacs/")


def test_a_block_of_commands_that_makes_an_archive_says_which_one_the_others_are_for() -> None:
    blocks = [block for page in PAGES for block in page.read_text(encoding="utf-8").split("```")[1::2]]
    making = [block for block in blocks if "pacs init " in block]
    assert len(making) >= 7
    assert [one for one in making if not any(said in one for said in NAMING)] == []


def test_the_settings_of_the_service_are_those_that_the_other_pages_name(tmp_path: Path) -> None:
    """Who made the archive as the page on the service says goes on with another, which names its data directory."""
    page = (ROOT / "docs/operate/running.md").read_text(encoding="utf-8")
    block = next(block for block in page.split("```")[1::2] if "pacs init --data /srv/pacs" in block)
    lines = [line for line in block.splitlines() if line.startswith(("pacs init", "echo", "install -d /etc/pacs"))]
    script = "\n".join(lines).replace("/srv/pacs", f"{tmp_path}/srv").replace("/etc/pacs", f"{tmp_path}/etc")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PACS_")}
    clean["PATH"] = f"{Path(sys.executable).parent}:{clean['PATH']}"
    subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=clean, check=True, capture_output=True)
    for named in ({"PACS_DATA": "srv"}, {"PACS_CONFIG": "srv/pacs.yaml"}, {"PACS_CONFIG": "etc/pacs.yaml"}):
        asking = ["pacs", "config", "show", "--json"]
        told = subprocess.run(asking, cwd=tmp_path, env=clean | named, capture_output=True, text=True, check=False)
        assert told.returncode == 0, (named, told.stderr)
        settings = {one["name"]: one["value"] for one in json.loads(told.stdout)}
        assert settings["data_dir"] == str(tmp_path / "srv"), named


def test_a_volume_lies_at_one_path_on_all_pages() -> None:
    """Who goes from one page to another would add the folder above, or one that is not there, under the same name."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in ("nas1", "nas2"):
        assert set(re.findall(rf"pacs storage add {name} (/[^\s`]+)", text)) == {f"/mnt/{name}"}


def test_whoever_restores_a_backup_is_told_to_take_in_what_arrived_after_it() -> None:
    blocks = [block for page in PAGES for block in page.read_text(encoding="utf-8").split("```")[1::2]]
    restoring = [block for block in blocks if "pacs restore-backup " in block]
    assert len(restoring) >= 5
    assert [one for one in restoring if "pacs reconcile --repair" not in one.partition("--yes")[2]] == []


def test_systemd_gives_running_operations_the_time_that_they_have() -> None:
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNITS / "pacs.service", encoding="utf-8")
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) > DRAIN_S + 5
    assert (service["Type"], service["KillMode"]) == ("notify", "mixed"), "only the supervisor is told to end"
    assert service["ExecStart"].split()[1:] == ["-c", "/etc/pacs/pacs.yaml", "serve"]


@pytest.mark.parametrize(("word", "code"), [("--help", 0), ("--port", 2)])
def test_serve_starts_nothing_when_it_is_told_something_that_it_does_not_take(
    tmp_path: Path, word: str, code: int
) -> None:
    run = subprocess.run([ROOT / "scripts/serve", word], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, list(tmp_path.iterdir())) == (code, [])
    assert ("PACS_PORT (11112)" in run.stdout) == (code == 0)
    assert (word in run.stderr) == (code == 2)


def test_the_help_of_the_checks_installs_nothing_and_runs_none(tmp_path: Path) -> None:
    shutil.copy(ROOT / "scripts/test", tmp_path)
    (tmp_path / "environment.sh").write_text("exit 42\n")
    for words, code in ((["--help"], 0), (["--fast", "-h"], 0), (["--fast"], 42)):
        run = subprocess.run([tmp_path / "test", *words], capture_output=True, text=True, check=False)
        assert (run.returncode, "--long" in run.stdout) == (code, code == 0)


def test_serve_is_found_with_what_lies_beside_it_by_a_link_too(tmp_path: Path) -> None:
    checkout = tmp_path / "PACS 病院" / "scripts"
    checkout.mkdir(parents=True)
    shutil.copy(ROOT / "scripts/serve", checkout)
    (checkout / "environment.sh").write_text("exit 42\n")
    (tmp_path / "link").symlink_to(checkout / "serve")
    assert subprocess.run([tmp_path / "link"], check=False).returncode == 42


def installed(checkout: Path, program: str) -> None:
    """A checkout whose environment was made, with this line of a shell for its python and pip."""
    for folder in ("scripts", ".venv/bin"):
        (checkout / folder).mkdir(parents=True)
    shutil.copy(ROOT / "scripts/environment.sh", checkout / "scripts")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    for name in ("python", "pip"):
        (checkout / ".venv/bin" / name).write_text(f"#!/bin/sh\n{program}\n")
        (checkout / ".venv/bin" / name).chmod(0o755)


def test_an_installation_stays_when_the_python_of_the_system_is_brought_up_to_date(tmp_path: Path) -> None:
    """Else the archive would not start again without a network. All but pip is real."""
    installed(tmp_path, f'[ "$1" = -m ] && echo "$@" >>pip.log || exec {sys.executable} "$@"')
    for folder in ("elsewhere/scripts", "newer"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "newer/sitecustomize.py").write_text("import sys\nsys.version += ' newer'\n")
    installing = ["bash", "-ec", 'source scripts/environment.sh; install_project ""; echo "$root"']
    for more in ({}, {"PYTHONPATH": str(tmp_path / "newer"), "CDPATH": str(tmp_path / "elsewhere")}):
        run = subprocess.run(
            installing, cwd=tmp_path, env=os.environ | more, capture_output=True, text=True, check=True
        )
        assert run.stdout == f"{tmp_path}\n"
    assert (tmp_path / "pip.log").read_text().count("pip install") == 1


def test_two_installations_into_one_checkout_are_made_one_after_the_other(tmp_path: Path) -> None:
    """All but pip is real, which says here that it began, and ends when it is told to."""
    pip = "echo began >>pip.log; until [ -e may-end ]; do sleep 0.05; done"
    installed(tmp_path, f'[ "$2" = pip ] && {{ {pip}; }} || exec {sys.executable} "$@"')
    installing = ["bash", "-euc", "source scripts/environment.sh; install_project ''"]
    scripts = [subprocess.Popen(installing, cwd=tmp_path, stderr=subprocess.PIPE, text=True)]
    try:
        wait_for((tmp_path / "pip.log").exists, "the first installation")
        scripts.append(subprocess.Popen(installing, cwd=tmp_path, stderr=subprocess.PIPE, text=True))
        assert scripts[1].stderr
        assert scripts[1].stderr.readline() == f"waiting for another installation into {tmp_path}/.venv ...\n"
    finally:
        (tmp_path / "may-end").touch()
        for one in scripts:
            one.communicate(timeout=60)
    assert [one.returncode for one in scripts] == [0, 0]
    assert (tmp_path / "pip.log").read_text() == "began\n", "the second had nothing left to do"


def test_an_installation_goes_into_its_environment_wherever_pip_installs_else(tmp_path: Path) -> None:
    """All but pip is real, which says here where it would have installed."""
    installed(tmp_path, f'[ "$2" = pip ] && env >pip.env || exec {sys.executable} "$@"')
    elsewhere = {
        "PIP_USER": "1",
        "PIP_TARGET": "/t",
        "PIP_PREFIX": "/p",
        "PIP_ROOT": "/r",
        "PIP_INDEX_URL": "https://i",
    }
    installing = ["bash", "-ec", 'source scripts/environment.sh; install_project ""']
    subprocess.run(installing, cwd=tmp_path, env=os.environ | elsewhere, capture_output=True, check=True)
    told = dict(line.partition("=")[::2] for line in (tmp_path / "pip.env").read_text().splitlines())
    assert {name: told[name] for name in elsewhere if name in told} == {"PIP_USER": "0", "PIP_INDEX_URL": "https://i"}


def test_an_environment_that_cannot_be_made_is_named_with_the_reason_that_python_gives(tmp_path: Path) -> None:
    """It may be a read-only checkout: a package of Debian would not help there."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/environment.sh", tmp_path / "scripts")
    (tmp_path / ".venv").write_text("in its way\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    installing = ["bash", "-ec", 'source scripts/environment.sh; install_project ""']
    run = subprocess.run(installing, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    reason, told = run.stderr.splitlines()[-2:]
    assert f"{tmp_path}/.venv" in reason
    assert told.startswith(f"{tmp_path}/.venv could not be made: see the lines above")


def test_the_service_may_write_to_every_volume_that_the_pages_name() -> None:
    unit = (UNITS / "pacs.service").read_text(encoding="utf-8")
    (writable,) = re.findall("ReadWritePaths=(.+)", unit)
    text = "\n".join(path.read_text(encoding="utf-8") for path in (*PAGES, CONFIG / "pacs.example.yaml"))
    named = re.findall(r"pacs storage add (?:nas|ssd)\d (/[^\s`]+)|nas1: (/[^\s`}]+)", text)
    volumes = {Path(added or elsewhere) for added, elsewhere in named}
    assert len(volumes) >= 5
    folders = [Path(folder.lstrip("-")) for folder in writable.split()]
    assert [one for one in volumes if not any(folder in one.parents for folder in folders)] == []


def systemd_analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """What it says of units, for which no systemd has to run."""
    if (program := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd is not installed")
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


def test_systemd_understands_every_line_of_the_units(tmp_path: Path) -> None:
    for unit in (*UNITS.iterdir(), CONFIG / "cluster/patroni.service"):
        text = re.sub("ExecStart=[^ ]+", f"ExecStart={sys.executable}", unit.read_text(encoding="utf-8"))
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    done = systemd_analyze("verify", *tmp_path.iterdir())
    assert (
        done.returncode,
        done.stdout,
        [line for line in done.stderr.splitlines() if "pacs" in line or "patroni" in line],
    ) == (0, "", [])


def test_the_service_has_no_rights_that_it_does_not_use() -> None:
    done = systemd_analyze("security", "--offline=true", "--threshold=20", UNITS / "pacs.service")
    assert done.returncode == 0, done.stdout
    refused = {line.split()[1].rstrip("=") for line in done.stdout.splitlines() if line.startswith("✗")}
    # It lives of the network, of files of others and of lines that it has not chosen. To later releases of systemd some
    # lines say that it has mounts of its own.
    assert refused | {"PrivateMounts"} == {
        "RemoveIPC", "RootDirectory=/RootImage", "PrivateMounts", "ProcSubset", "PrivateNetwork", "PrivateUsers",
        "DeviceAllow", "IPAddressDeny", "UMask", "RestrictAddressFamilies=~AF_NETLINK",
        "RestrictAddressFamilies=~AF_UNIX", "RestrictAddressFamilies=~AF_(INET|INET6)",
    }  # fmt: skip


CLUSTER, SINGLE = CONFIG / "cluster" / "compose.yaml", CONFIG / "compose.yaml"


def compose(file: Path = CLUSTER) -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return told


NODES = [(CLUSTER, "pacs1"), (CLUSTER, "pacs2"), (SINGLE, "pacs")]


@pytest.mark.parametrize(("file", "name"), NODES)
def test_a_node_in_a_container_sees_mounts_of_the_host_come_and_go_and_makes_none_of_its_own(
    file: Path, name: str
) -> None:
    """What is unmounted on the host goes from a container only below a folder that is bound, not where it is bound."""
    node = compose(file)["services"][name]
    binds = [one for one in node["volumes"] if isinstance(one, dict)]
    (folder,) = [one for one in binds if one["target"] != "/etc/pacs"]
    pages = [(ROOT / "docs/operate" / page).read_text(encoding="utf-8") for page in ("running.md", "cluster.md")]
    volumes = {path for page in pages for path in re.findall(r"pacs storage add \w+ (/\S+)", page)}
    assert {str(Path(path).parent) for path in volumes} == {folder["source"]} == {folder["target"]}
    assert all(one["bind"]["create_host_path"] is False for one in binds)
    assert folder["bind"]["propagation"] == "rslave"
    assert node["hostname"] == name, "the name of a node stays the same when its container is made anew"
    assert float(node["stop_grace_period"].removesuffix("s")) > DRAIN_S + 5


@pytest.mark.parametrize(("file", "name"), NODES)
def test_a_node_in_a_container_has_no_rights_and_nothing_to_write_to_but_what_is_mounted(file: Path, name: str) -> None:
    node = compose(file)["services"][name]
    assert (node["read_only"], node["init"], node["cap_drop"]) == (True, True, ["ALL"])
    assert node["security_opt"] == ["no-new-privileges:true"]
    assert node["tmpfs"] == ["/tmp"], "the server counts its places in a file there"
    assert (file.parent / node["build"]).resolve() == ROOT, "the Dockerfile is at the top"


def instructions() -> list[tuple[str, str]]:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    return [(line.split()[0], line.partition(" ")[2]) for line in lines if line and not line.startswith("#")]


def test_the_image_is_made_of_what_the_package_needs_and_nothing_else() -> None:
    copied = [source for name, words in instructions() if name == "COPY" for source in words.split()[:-1]]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line[1:] for line in ignore if line.startswith("!")] == copied
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    built, project = package["tool"]["hatch"]["build"]["targets"]["wheel"], package["project"]
    needed = {*built["packages"], *built["force-include"], project["readme"], *project["license-files"]}
    assert needed | {"pyproject.toml"} == set(copied)


def test_the_image_runs_the_archive_as_a_user_of_its_own_and_says_how_it_is() -> None:
    told = dict(instructions())
    assert told["USER"] == "pacs"
    settings = ["-c", "/etc/pacs/pacs.yaml"]
    assert (json.loads(told["ENTRYPOINT"]), json.loads(told["CMD"])) == (["/opt/pacs/bin/pacs"], [*settings, "serve"])
    asked = f"http://{HttpSettings().host}:{HttpSettings().port}/ready"
    assert asked in json.loads(told["HEALTHCHECK"].partition("CMD ")[2])[-1]


def test_the_image_asks_the_server_in_it_for_its_health_whatever_proxy_docker_gives_it() -> None:
    command = json.loads(dict(instructions())["HEALTHCHECK"].partition("CMD ")[2])
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        asking = command[-1].replace(str(HttpSettings().port), str(server.getsockname()[1]))
        proxies = {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}
        for status, code in ((b"200 OK", 0), (b"503 Not Ready", 1)):
            with subprocess.Popen(
                [sys.executable, "-c", asking], env=os.environ | proxies, stderr=subprocess.DEVNULL
            ) as process:
                connected, _ = server.accept()
                with connected:
                    assert connected.recv(4096).startswith(b"GET /ready ")
                    connected.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
            assert process.returncode == code


@pytest.mark.parametrize(("file", "name"), NODES)
def test_a_node_in_a_container_is_told_the_zone_of_the_site(file: Path, name: str) -> None:
    assert "TZ" in compose(file)["services"][name]["environment"]


def test_the_ports_that_a_container_opens_are_those_of_the_settings() -> None:
    shown = yaml.safe_load((CONFIG / "pacs.example.yaml").read_text(encoding="utf-8"))
    opened = [port.split(":") for port in compose(SINGLE)["services"]["pacs"]["ports"]]
    assert [ours for _, ours in opened] == [str(shown["port"]), "2762"]


def test_the_unit_of_patroni_starts_what_the_page_installs_with_the_file_that_it_copies() -> None:
    unit = (CONFIG / "cluster/patroni.service").read_text(encoding="utf-8")
    ((program, file),) = re.findall("ExecStart=(.+) (.+)", unit)
    page = (ROOT / "docs/operate/cluster.md").read_text(encoding="utf-8")
    assert f"python3 -m venv {Path(program).parents[1]} " in page
    assert f"-o postgres config/cluster/patroni.yaml {file}\n" in page
    assert "User=postgres" in unit


def test_the_shipped_patroni_is_one_that_doctor_takes_and_synchronous() -> None:
    wanted = re.search(r"patroni\[etcd3\]>=([0-9.]+)", (CONFIG / "cluster" / "patroni.Dockerfile").read_text())
    assert wanted
    assert not Member(name="", role="", state="", version=wanted[1]).is_too_old
    told = yaml.safe_load((CONFIG / "cluster" / "patroni.yaml").read_text(encoding="utf-8"))
    assert told["bootstrap"]["dcs"]["synchronous_mode"] is True
    voters = [name for name in compose()["services"] if name.startswith("etcd")]
    assert [host.partition(":")[0] for host in told["etcd3"]["hosts"]] == voters
    assert len(voters) == 3
