"""A Redis of our own, which may be killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
from conftest import free_port, missing


@dataclass
class RedisServer:
    """A server in a directory of its own, on a port of its own."""

    directory: Path
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """What ``MAILTRACK_SINK`` is set to."""
        return f"redis://127.0.0.1:{self.port}/0"

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A client of our own, to look at what is there."""
        with redis.Redis.from_url(self.url) as client:
            yield client

    def start(self) -> None:
        """Start it, on what its append-only file holds, and wait until it takes connections."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        command += ["--save", "", "--enable-debug-command", "yes", *self.options]
        user = _ordinary_user()
        if user:  # not the one who runs the tests, if that is root
            shutil.chown(self.directory, user)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, user=user)
        assert self.process.stdout
        for line in self.process.stdout:
            if "Ready to accept connections" in line:
                return
        raise RuntimeError("redis-server does not start")

    def kill(self) -> None:
        """Stop it as a crash would."""
        if self.process:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            assert self.process.stdout
            self.process.stdout.close()
            self.process = None

    def hang(self, hanging: bool) -> None:
        """Have it answer nobody, or go on."""
        assert self.process
        os.kill(self.process.pid, signal.SIGSTOP if hanging else signal.SIGCONT)


@contextmanager
def running(*options: str) -> Iterator[RedisServer]:
    """A server with an append-only file that is synced with each write, unless *options* say otherwise."""
    if shutil.which("redis-server") is None:
        missing("redis-server")
    # Not under tmp_path, which only its owner can enter.
    place = Path(tempfile.mkdtemp(prefix="mailtrack-redis-"))
    server = RedisServer(place, options=options or ("--appendonly", "yes", "--appendfsync", "always"))
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(place)


def _ordinary_user() -> str | None:
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "redis" if "redis" in known else "nobody"
