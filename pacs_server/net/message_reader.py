"""DIMSE messages out of fragments, without sockets; every length is bounded.

Source: PS3.7 section 6.3, PS3.8 annex E (fragments).
"""

from __future__ import annotations

from collections.abc import Container

from pacs_server.errors import ProtocolViolation
from pacs_server.net.message import Command, decode_command
from pacs_server.net.wire import PDV_HEADER_BYTES, Fragment


class MessageReader:
    """Puts fragments together: whole commands, and the data set of each as views, in the order that is allowed.

    `in_command` tells whether a command has begun, `expects_data` whether the data set of the last one has not ended.
    """

    def __init__(self, contexts: Container[int], max_command_bytes: int) -> None:
        self._contexts = contexts
        self._max_command_bytes = max_command_bytes
        self._parts = bytearray()
        self._arrived = 0  # with headers, so that endless empty fragments have an end too
        self._context_id = 0
        self.in_command = False
        self.expects_data = False

    def take(self, fragment: Fragment) -> Command | memoryview | None:
        """A command that is now whole, or the next part of the data set, or None while a command is not whole.

        Raises: ProtocolViolation when the fragment may not come now or the command set is not one.
        """
        if not fragment.is_command:
            return self._take_data(fragment)
        if self.expects_data:
            raise ProtocolViolation("a command came before the data set of the last one ended")
        if self.in_command and fragment.context_id != self._context_id:
            raise ProtocolViolation("a command goes on in another presentation context")
        if fragment.context_id not in self._contexts:
            raise ProtocolViolation(f"a command came on context {fragment.context_id}, which was not accepted")
        self.in_command, self._context_id = True, fragment.context_id
        self._arrived += len(fragment.data) + PDV_HEADER_BYTES
        if self._arrived > self._max_command_bytes:
            raise ProtocolViolation(f"a command set is larger than {self._max_command_bytes} bytes")
        if not fragment.is_last:
            self._parts += fragment.data
            return None
        encoded = bytes(self._parts + fragment.data) if self._parts else bytes(fragment.data)
        self._parts, self._arrived, self.in_command = bytearray(), 0, False
        command = decode_command(encoded, fragment.context_id)
        self.expects_data = command.has_data_set
        return command

    def _take_data(self, fragment: Fragment) -> memoryview:
        if not self.expects_data:
            raise ProtocolViolation("a data set came that no command announced")
        if fragment.context_id != self._context_id:
            raise ProtocolViolation("a data set came on another presentation context than its command")
        self.expects_data = not fragment.is_last
        return fragment.data
