"""A mail server that keeps what it is sent, or refuses it."""

import socket
from email import message_from_bytes
from email.message import Message

from support.accepting import Accepting


class MailServer(Accepting):
    """Speaks as much SMTP as is needed to take a mail; `refuses` is in the recipients that it refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Message] = []
        self.refuses: bytes | None = None
        self.offers = b"250 ok\r\n"

    def talk(self, connected: socket.socket) -> None:
        lines = connected.makefile("rb")
        connected.sendall(b"220 mail\r\n")
        for line in lines:
            word = line.split()[0].upper()
            if word == b"DATA":
                connected.sendall(b"354 go on\r\n")
                text = b""
                while (line := lines.readline()) not in (b".\r\n", b""):
                    text += line
                self.mails.append(message_from_bytes(text))
            elif word == b"RCPT" and self.refuses is not None and self.refuses in line:
                connected.sendall(b"550 nobody\r\n")
                continue
            connected.sendall({b"QUIT": b"221 bye\r\n", b"EHLO": self.offers}.get(word, b"250 ok\r\n"))
