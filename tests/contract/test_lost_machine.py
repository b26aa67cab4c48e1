"""The machine of a PostgreSQL is lost without a word: its packets go nowhere, and no kernel tells of it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from support.namespaces import Cable, entered
from support.postgres import Cluster, memory

from pacs_server.index.drivers import watch
from pacs_server.index.engine import Index


@contextmanager
def on_the_network(cluster: Cluster, cable: Cable) -> Iterator[str]:
    """The far end of the cable, as the address of a cluster that has only a socket."""
    with entered(cable.networks[1]), socket.create_server((cable.addresses[1], 5432)) as listening:
        threading.Thread(target=_let_in, args=(listening, f"{cluster.home}/.s.PGSQL.5432"), daemon=True).start()
        yield cable.addresses[1]


def _let_in(listening: socket.socket, path: str) -> None:
    with suppress(OSError):  # when the test is over
        while True:
            caller, _ = listening.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(path)
            for one, other in ((caller, server), (server, caller)):
                threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while told := one.recv(65_536):
            other.sendall(told)


@pytest.mark.parametrize("is_taken", [True, False])
def test_who_has_asked_a_machine_that_is_lost_is_told_by_the_kernel_and_asks_the_promoted_one(
    monkeypatch: pytest.MonkeyPatch, *, is_taken: bool
) -> None:
    """Whether the machine is lost before it took the question, or behind that."""
    monkeypatch.setattr(watch, "ANSWERED_LATELY_S", 60.0)  # so that it is the question itself that is lost
    with Cable() as cable, Cluster.new(memory()) as primary, primary.standby() as standby:
        primary.go_on_alone()
        with on_the_network(primary, cable) as address:
            hosts = f"host={address}&host={standby.home}"
            with closing(Index.open(f"postgresql://pacs@/postgres?{hosts}&target_session_attrs=read-write")) as index:
                lost = threading.Timer(1.0, cable.pull)
                with entered(cable.networks[0]):
                    index.rows("SELECT 1", ())
                    (lost.start if is_taken else cable.pull)()
                    standby.execute("SELECT pg_promote()")
                    asked = "SELECT NOT pg_is_in_recovery(), pg_sleep(%s)"
                    answered = index.rows(asked, (3 if is_taken else 0,))
                assert answered[0][0] is True
