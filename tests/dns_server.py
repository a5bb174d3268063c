"""An authoritative name server of our own (NSD), on a free port, with the zones that a test writes."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query
from conftest import missing

HEAD = "$TTL 60\n@ IN SOA ns hostmaster 1 60 60 60 60\n@ IN NS ns\nns IN A 127.0.0.1\n"


@dataclass
class NameServer:
    """A running server, whose zones may be changed."""

    directory: Path
    port: int
    program: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """What ``MAILTRACK_DNS_SERVERS`` is set to."""
        return f"127.0.0.1:{self.port}"

    def serve(self, zones: dict[str, str | None]) -> None:
        """Serve *zones*, by name; a zone without text has no file, and its names answer SERVFAIL."""
        self.stop()
        for _ in range(5):
            try:
                self._serve(zones)
            except RuntimeError:  # on a busy machine, a port that was free a moment ago may have gone
                if not self._is_taken():
                    raise
                self.stop()
                (self.directory / "log").unlink()
                self.port = _free_port()
            else:
                return
        self._serve(zones)

    def _serve(self, zones: dict[str, str | None]) -> None:
        config = [
            "server:",
            f"  ip-address: 127.0.0.1@{self.port}",
            '  username: ""',
            '  chroot: ""',
            '  pidfile: ""',
            '  database: ""',
            f'  zonesdir: "{self.directory}"',
            f'  xfrdfile: "{self.directory}/xfrd"',
            f'  xfrdir: "{self.directory}"',
            f'  zonelistfile: "{self.directory}/zonelist"',
            "remote-control:",
            "  control-enable: no",
        ]
        for name, text in zones.items():
            if text is not None:
                (self.directory / name).write_text(HEAD + text)
            config += ["zone:", f"  name: {name}", f"  zonefile: {name if text is not None else 'not-there'}"]
        path = self.directory / "nsd.conf"
        path.write_text("\n".join(config) + "\n")
        command = [self.program, "-d", "-c", str(path)]
        user = _ordinary_user()
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, user=user, start_new_session=True)
        self._wait(next(iter(zones)))

    def _is_taken(self) -> bool:
        return "Address already in use" in (self.directory / "log").read_text()

    def stop(self) -> None:
        """End the server, if it runs."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def _wait(self, zone: str) -> None:
        question = dns.message.make_query(zone, "SOA")
        for _ in range(100):
            try:
                dns.query.udp(question, "127.0.0.1", timeout=0.1, port=self.port)
            except (dns.exception.Timeout, OSError):
                if self.process is not None and self.process.poll() is not None:
                    break
                continue
            return
        raise RuntimeError(f"nsd does not answer: {(self.directory / 'log').read_text()}")


@contextmanager
def name_server() -> Iterator[NameServer]:
    """Yield a server that serves nothing yet, gone afterwards."""
    program = shutil.which("nsd") or shutil.which("nsd", path="/usr/sbin")
    if program is None:
        missing("nsd, an authoritative name server (Debian's package nsd),")
    assert program
    place = Path(tempfile.mkdtemp(prefix="mailtrack-nsd-"))
    if user := _ordinary_user():
        shutil.chown(place, user)
    server = NameServer(place, _free_port(), program)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(place)


def _free_port() -> int:
    """Return a port that is free for UDP and for TCP: the server wants both."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _ordinary_user() -> str | None:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "nobody" if os.getuid() == 0 and "nobody" in known else None
