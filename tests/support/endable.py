"""An association of which a test sees how it was ended, by us or by its peer."""

from dataclasses import dataclass

from pacs_server.errors import PeerAborted


@dataclass(kw_only=True)
class Endable:
    """Released, closed, or both; one that `does_not_release` is aborted by its peer instead. Its peer releases it once
    it has answered `takes` requests, or ends it at the next one where it `ends_late`.
    """

    does_not_release: bool = False
    takes: int | None = None
    ends_late: bool = False
    answered: int = 0
    is_released: bool = False
    is_closed: bool = False

    def is_spent(self) -> bool:
        return self._is_ended and not self.ends_late

    def ask(self) -> None:
        """One request. Raises: PeerAborted."""
        if self._is_ended:
            raise PeerAborted("the peer closed the connection")
        self.answered += 1

    @property
    def _is_ended(self) -> bool:
        return self.takes is not None and self.answered >= self.takes

    def release(self) -> None:
        self.is_released = True
        if self.does_not_release:
            raise PeerAborted("the peer aborted")

    def close(self) -> None:
        self.is_closed = True
