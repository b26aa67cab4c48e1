"""Two archives that are each other's partner, with lines between them that can be cut."""

import json
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.dcmtk import free_port
from support.namespaces import Cable
from support.server import Archive, wait_for

SETTINGS: Mapping[str, Any] = {
    "check_called": False,
    "partner": {"greet_every_s": 0.5, "connect_timeout_s": 2.0, "handshake_timeout_s": 20.0},
}
HEALED_S = 120.0


class Wire:
    """A port of this machine that leads to another one, until it is cut: then what went through it is gone, and nobody
    answers."""

    def __init__(self, leads_to: Callable[[], int]) -> None:
        self._leads_to = leads_to
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.is_cut = False
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        with self._lock:
            self.is_cut = True
            for one in self._open:
                one.close()
            self._open.clear()

    def mend(self) -> None:
        self.is_cut = False

    def close(self) -> None:
        self.cut()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, suppress(OSError, ValueError):
            if self.is_cut:
                return
            with socket.create_connection(("127.0.0.1", self._leads_to()), timeout=5) as far:
                far.settimeout(None)
                with self._lock:
                    if self.is_cut:
                        return
                    self._open += [near, far]
                other = {near: far, far: near}
                while True:
                    for one in select.select([near, far], [], [])[0]:
                        data = one.recv(65_536)
                        if not data:
                            return
                        other[one].sendall(data)


def with_partner_port(settings: Mapping[str, Any], port: int) -> dict[str, Any]:
    return {**settings, "partner": {**settings["partner"], "port": port}}


class Pair:
    """TOKYO and OSAKA, running and joined. Everything between them goes through the wires."""

    def __init__(self, folder: Path, *, settings: Mapping[str, Any] = SETTINGS) -> None:
        ports = [free_port(), free_port()]
        self.tokyo, self.osaka = (
            self._archive(folder / name, name, with_partner_port(settings, port))
            for name, port in zip(("TOKYO", "OSAKA"), ports, strict=True)
        )
        self.wires: list[Wire] = []
        try:
            self._join(ports)
        except BaseException:
            self.close()
            raise

    def _join(self, ports: Sequence[int]) -> None:
        for each in self.both:
            each.pacs("tls", "init")
            each.start()
        for here, there, port in ((*self.both, ports[1]), (*self.both[::-1], ports[0])):
            host, dicom_port = self._way(there, lambda there=there: there.port)  # type: ignore[misc]
            here.add_peer(there.aet, dicom_port, host=host)
            self.add_partner(here, there, *self._way(there, lambda port=port: port))  # type: ignore[misc]
        for each in self.both:
            wait_for(lambda each=each: self.partner(each)["state"] == "reachable", "the partner", timeout_s=HEALED_S)  # type: ignore[misc]

    def _archive(self, folder: Path, aet: str, settings: Mapping[str, Any]) -> Archive:
        return Archive(folder, settings=settings, aet=aet)

    def _way(self, there: Archive, port: Callable[[], int]) -> tuple[str, int]:
        """The address at which the other one reaches a port of one of them."""
        wire = Wire(port)
        self.wires.append(wire)
        return "127.0.0.1", wire.port

    @property
    def both(self) -> tuple[Archive, Archive]:
        return self.tokyo, self.osaka

    def add_partner(self, here: Archive, there: Archive, host: str, port: int) -> subprocess.CompletedProcess[str]:
        pin = {row["name"]: row["fingerprint"] for row in there.report("tls", "show")}["node"]
        name = there.aet.lower()
        return here.pacs("partner", "add", name, host, str(port), "--fingerprint", pin, "--aet", there.aet)

    def partner(self, archive: Archive) -> dict[str, Any]:
        """What an archive says of the other."""
        (told,) = archive.report("partner", "list")
        return dict(told)

    def cut(self) -> None:
        for wire in self.wires:
            wire.cut()

    def mend(self) -> None:
        for wire in self.wires:
            wire.mend()

    def are_equal(self) -> bool:
        """Whether a comparison of everything finds nothing, from both sides."""
        return all(self.compared(each).get("is_equal") for each in self.both)

    def compared(self, archive: Archive, *options: str) -> dict[str, Any]:
        """What a comparison finds; nothing while the other is not reached."""
        other = self.osaka if archive is self.tokyo else self.tokyo
        arguments = ("partner", "compare", other.aet.lower(), *options, "--json")
        told = archive.pacs(*arguments, expect=(0, 12, 13)).stdout
        return dict(json.loads(told)) if told else {}

    def become_equal(self) -> None:
        wait_for(self.are_equal, "both archives to hold the same", timeout_s=HEALED_S, every_s=0.5)

    def owe_nothing(self) -> None:
        """Wait until no series waits to be looked at again. One that was still being received while it was given is,
        a second after both hold the same; what either loses in that second is given anew then, as it should be.
        """
        for each in self.both:
            wait_for(
                lambda each=each: not self.partner(each)["behind_series"],  # type: ignore[misc]
                f"nothing to be owed by {each.aet}",
                timeout_s=HEALED_S,
                every_s=0.5,
            )

    def close(self) -> None:
        for each in self.both:
            each.kill()
        for wire in self.wires:
            wire.close()


class PairOnCable(Pair):
    """The same, each in a network of its own. Everything between them goes over the cable."""

    def __init__(self, folder: Path, cable: Cable) -> None:
        self._cable = cable
        self._ends = dict(zip(("TOKYO", "OSAKA"), zip(cable.networks, cable.addresses, strict=True), strict=True))
        super().__init__(folder, settings={**SETTINGS, "partner": {**SETTINGS["partner"], "host": "0.0.0.0"}})

    def _archive(self, folder: Path, aet: str, settings: Mapping[str, Any]) -> Archive:
        return Archive(folder, settings=settings, aet=aet, host="0.0.0.0", network=self._ends[aet][0])

    def _way(self, there: Archive, port: Callable[[], int]) -> tuple[str, int]:
        return self._ends[there.aet][1], port()

    def cut(self) -> None:
        self._cable.pull()

    def mend(self) -> None:
        self._cable.plug_in()
