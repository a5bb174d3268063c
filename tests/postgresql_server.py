"""A PostgreSQL server of our own, on a free port, for tests that stop it, hang it or kill it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Server:
    """A server that may be stopped and started."""

    programs: Path
    directory: Path
    port: int
    user: str | None

    @property
    def url(self) -> str:
        """Where its database is."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres?connect_timeout=5"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of its programs, which is done when it is done."""
        command = [str(self.programs / program), *arguments]
        log = self.directory.parent / "log"
        with log.open("ab") as output:  # not a pipe: the server would keep it open
            subprocess.run(command, check=True, stdout=output, stderr=output, user=self.user, cwd="/", timeout=60)

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self.run("pg_ctl", "-D", str(self.directory), "-w", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: ``immediate`` as a crash would, ``fast`` as an administrator would."""
        self.run("pg_ctl", "-D", str(self.directory), "-w", "-m", mode, "stop")

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Have it answer nobody, not even with an error, while its connections stay open."""
        postmaster = int((self.directory / "postmaster.pid").read_text().split()[0])
        stopped = [postmaster]
        os.kill(postmaster, signal.SIGSTOP)  # first, so that it makes no more children
        for child in children(postmaster):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
                stopped.append(child)
        try:
            yield
        finally:
            for pid in reversed(stopped):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def children(pid: int) -> list[int]:
    """Return the children of a process, oldest first."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def programs() -> Path | None:
    """Where PostgreSQL's server programs are."""
    found = shutil.which("pg_ctl")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return Path(found).resolve().parent if found else debian[-1].parent if debian else None


def ordinary_user() -> str | None:
    """Whom the server runs as: it refuses root."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@contextmanager
def postgresql_server(binaries: Path) -> Iterator[Server]:
    """Yield a running server on a free port, gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not under pytest's tmp_path, which only its owner can enter.
    place = Path(tempfile.mkdtemp(prefix="mailtrack-postgresql-"))
    server = Server(binaries, place / "data", port, ordinary_user())
    if server.user:
        shutil.chown(place, server.user)
    try:
        server.run("initdb", "-D", str(server.directory), "-U", "postgres", "-A", "trust", "-N")
        server.start()
        yield server
    finally:
        if (server.directory / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(place)
