"""A web server of our own over TLS, with the certificate that a test makes."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], str]
Answers = Callable[[str, str], Answer]
"""Given the host and the path of a request, what is answered."""
Received = tuple[dict[str, str], bytes]


@contextmanager
def web_server(
    answers: Answers, context: ssl.SSLContext | None = None, received: list[Received] | None = None
) -> Iterator[int]:
    """Yield the port of a server on 127.0.0.1; without a *context* it speaks plain HTTP.

    :param received: takes headers and body of each POST.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            if received is not None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((dict(self.headers), body))
            self.answer()

        def answer(self) -> None:
            status, headers, body = answers(self.headers.get("Host", ""), self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, client_address: Any) -> None:
            with suppress(OSError):  # a client that does not trust us
                connection = context.wrap_socket(request, server_side=True) if context else request
                super().finish_request(connection, client_address)
                if context:
                    connection.close()

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
