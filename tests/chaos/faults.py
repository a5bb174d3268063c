"""What goes wrong during a chaos run: killed workers, a database that stops or hangs, a full disk."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from chaos.host import AIM
from chaos.leavers import Machine
from postgresql_server import Server, children

SETTLE_SECONDS = 0.5
"""What a fault leaves behind, such as a backlog in the spool, is worked off before the next measurement."""


@dataclass(frozen=True)
class Period:
    """A stretch of the run, on the monotonic clock."""

    name: str
    began: float
    ended: float

    def holds(self, moment: float) -> bool:
        """Whether *moment* is in it."""
        return self.began <= moment < self.ended


class Tmpfs:
    """A small file system of its own for the spool, which can really be filled. For root."""

    kind = "a tmpfs of 32 MB, filled to the last byte"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,mode=0700", "chaos", str(directory)], check=True)

    def fill(self, over: threading.Event, seconds: float) -> None:
        """Keep it full for a while, also when drained segments make room."""
        ballast, end, size = self._directory / "ballast", time.monotonic() + seconds, 1 << 20
        with ballast.open("ab", buffering=0) as file:
            while time.monotonic() < end and not over.is_set():
                try:
                    file.write(b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size = max(1, size // 2)
                    if size == 1:
                        over.wait(0.002)
        ballast.unlink()

    def close(self) -> None:
        """Unmount it, though this process has a segment open."""
        subprocess.run(["umount", "--lazy", str(self._directory)], check=True)


class Limit:
    """A stand-in for who is not root: no process of the server may write to a file (``RLIMIT_FSIZE``)."""

    kind = "RLIMIT_FSIZE 0 on the server's processes (a real file system can be filled by root only)"

    def __init__(self, directory: Path, server_pid: Callable[[], int]) -> None:
        directory.mkdir()
        self._server_pid = server_pid

    def fill(self, over: threading.Event, seconds: float) -> None:
        """Let nothing be written for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not over.is_set():
            self._limit(0)  # again and again, for workers that have begun since
            over.wait(0.05)
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        for pid in (self._server_pid(), *children(self._server_pid())):
            with suppress(ProcessLookupError):
                hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))

    def close(self) -> None:
        """Nothing is left to take back."""


@dataclass
class Faults:
    """Plays a run: quiet and hung in turns, to compare them; then everything at once.

    :param machines: the servers whose workers are killed, each in its turn.
    :param seconds: of the whole run.
    """

    database: Server
    disk: Tmpfs | Limit
    machines: Sequence[Machine]
    seconds: float
    kills: int
    draw: random.Random
    periods: list[Period] = field(default_factory=list)
    killed: int = 0
    aimed: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def play(self) -> None:
        """Play the whole run; return when its time is over."""
        end = time.monotonic() + self.seconds
        window = max(0.3, self.seconds * 0.04)
        time.sleep(SETTLE_SECONDS)
        for _ in range(4):  # in short turns, so that neighbours on the machine disturb both alike
            with self._period("quiet"):
                time.sleep(window)
            with self.database.hung(), self._period("hung"):
                time.sleep(window)
            time.sleep(SETTLE_SECONDS)
        killer = threading.Thread(target=self._kill_workers, args=(end,))
        killer.start()
        try:
            self._disasters(end)
        finally:
            if time.monotonic() < end:
                time.sleep(max(0, end - time.monotonic()))
            self._over.set()
            killer.join()

    def _disasters(self, end: float) -> None:
        step = (end - time.monotonic()) / 4
        for disaster in ("fast", "disk", "immediate", "fast"):
            time.sleep(step / 2)
            with self._period(disaster):
                if disaster == "disk":
                    self.disk.fill(self._over, step / 2)
                else:
                    self.database.stop(disaster)
                    time.sleep(step / 2)
                    self.database.start()

    def _kill_workers(self, end: float) -> None:
        """Kill a worker now and then; one in four at the worst moment, between commit and delete."""
        pause = (end - time.monotonic()) / max(1, self.kills)
        for number in range(self.kills):
            machine = self.machines[number // 4 % len(self.machines)]
            if self._over.wait(self.draw.uniform(0.5, 1.5) * pause * 0.9):
                return
            if number % 4 == 3:
                machine.folder.joinpath(AIM).touch()
                self.aimed += 1
                continue
            workers = children(machine.pid)
            while not workers and not self._over.wait(0.05):
                workers = children(machine.pid)
            with suppress(ProcessLookupError, IndexError):
                os.kill(self.draw.choice(workers), signal.SIGKILL)
                self.killed += 1

    @contextmanager
    def _period(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.periods.append(Period(name, began, time.monotonic()))
