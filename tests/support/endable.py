"""An association of which a test sees how it was ended."""

from dataclasses import dataclass

from pacs_server.errors import PeerAborted


@dataclass(kw_only=True)
class Endable:
    """Released, closed, or both; one that `does_not_release` is aborted by its peer instead."""

    does_not_release: bool = False
    is_released: bool = False
    is_closed: bool = False

    def release(self) -> None:
        self.is_released = True
        if self.does_not_release:
            raise PeerAborted("the peer aborted")

    def close(self) -> None:
        self.is_closed = True
