"""A scripted SMTP server on a raw socket: it refuses, hangs up and gives up on demand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

Answer = str | None
"""A reply line, or ``None``: hang up without a word."""


@dataclass
class Script:
    """What the server answers; by default it takes everything.

    Each function gets the argument of the command and the number of the message, from 1, counted
    over all connections.
    """

    mail: Callable[[str, int], Answer] = lambda argument, number: "250 OK"
    rcpt: Callable[[str, int], Answer] = lambda argument, number: "250 OK"
    data: Callable[[str, int], Answer] = lambda argument, number: "354 go on"
    content: Callable[[str, int], Answer] = lambda argument, number: "250 queued"


@dataclass
class RawServer:
    """Serves one connection at a time, as told by a :class:`Script`."""

    script: Script
    accepted: list[tuple[list[str], bytes]] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _messages: int = 0

    def __enter__(self) -> RawServer:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection, connection.makefile("rwb") as stream:
                try:
                    self._talk(stream)
                except OSError:
                    continue

    def _talk(self, stream: socket.SocketIO) -> None:  # type: ignore[override]
        def say(answer: Answer) -> bool:
            if answer is None:
                return False
            stream.write(answer.encode() + b"\r\n")
            stream.flush()
            return not answer.startswith("421")

        say("220 ready")
        recipients: list[str] = []
        while line := stream.readline():
            verb, _, argument = line.decode().strip().partition(" ")
            verb = verb.upper()
            if verb == "MAIL":
                self._messages += 1
                recipients = []
                go_on = say(self.script.mail(argument, self._messages))
            elif verb == "RCPT":
                answer = self.script.rcpt(argument, self._messages)
                if answer and answer.startswith("250"):
                    recipients.append(argument)
                go_on = say(answer)
            elif verb == "DATA":
                answer = self.script.data(argument, self._messages)
                go_on = say(answer)
                if answer and answer.startswith("354"):
                    content = self._content(stream)
                    answer = self.script.content(argument, self._messages)
                    if answer and answer.startswith("250"):
                        self.accepted.append((recipients, content))
                    go_on = say(answer)
            elif verb == "QUIT":
                say("221 bye")
                return
            else:
                go_on = say("250 OK")
            if not go_on:
                return

    @staticmethod
    def _content(stream: socket.SocketIO) -> bytes:
        lines = []
        while (line := stream.readline()) not in (b".\r\n", b""):
            lines.append(line)
        return b"".join(lines)
