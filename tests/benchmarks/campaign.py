"""What ``send_each`` costs beside an untracked send, and what a campaign that is killed leaves. Run by hand.

``python tests/benchmarks/campaign.py [MAILS]`` sends the same campaign by Flask-Mail alone, by a tracked connection and
by ``send_each``, to a server in another process, and prints the CPU of each mail as a ratio, and the memory.

``python tests/benchmarks/campaign.py kill [MAILS]`` kills a campaign five times with SIGKILL, starts it again each
time, and counts the copies of each address that the server has taken.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import resource
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack
from flask_mailtrack.storage.tables import claims

FILLER = "lorem ipsum dolor sit amet\n" * 40
LINKS = "".join(f'<p>{FILLER}<a href="https://example.com/{n}?a=1&amp;b=2">x</a></p>\n' for n in range(5))
HTML = f"<!DOCTYPE html><html><body>{LINKS}</body></html>"
ROUNDS = 25


class _Taker(asyncio.Protocol):
    """Takes every mail, and writes each recipient down in the moment in which it is taken."""

    taken: int

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._rest, self._in_data, self._to = transport, b"", False, b""
        self._say(b"220 ready\r\n")

    def _say(self, line: bytes) -> None:
        self._transport.write(line)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while True:
            if self._in_data:
                end = self._rest.find(b"\r\n.\r\n")
                if end < 0:
                    return
                self._rest, self._in_data = self._rest[end + 5 :], False
                os.write(self.taken, self._to + b"\n")
                self._say(b"250 taken\r\n")
                continue
            line, found, rest = self._rest.partition(b"\r\n")
            if not found:
                return
            self._rest, verb = rest, line[:4].upper()
            if verb == b"RCPT":
                self._to = line[line.find(b"<") + 1 : line.find(b">")]
            if verb == b"DATA":
                self._in_data = True
                self._say(b"354 go on\r\n")
            elif verb == b"QUIT":
                self._say(b"221 bye\r\n")
                self._transport.close()
            else:
                self._say(b"250 OK\r\n")


def _serve(port: int, log: str) -> None:
    _Taker.taken = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Taker, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def sink(log: str) -> Iterator[int]:
    """Run a server that takes all, and yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = multiprocessing.Process(target=_serve, args=(port, log), daemon=True)
    process.start()
    while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
        time.sleep(0.05)
    yield port
    process.kill()


def make_app(port: int, tracked: bool, folder: str) -> tuple[Flask, Mail, Mailtrack | None]:
    """Return an app that sends to *port*, with or without us."""
    Path(folder).mkdir(exist_ok=True)
    app = Flask("bench", instance_path=folder)
    app.config.update(
        SECRET_KEY="k" * 40,
        SQLALCHEMY_DATABASE_URI=os.environ.get("BENCH_DATABASE", f"sqlite:///{folder}/bench.sqlite3"),
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=port,
        MAIL_DEFAULT_SENDER="me@example.com",
        MAILTRACK_BASE_URL="https://links.example.com",
        MAILTRACK_SPOOL_DIR=f"{folder}/spool",
        MAILTRACK_DRAIN="manual",
    )
    db, mail = SQLAlchemy(app), Mail(app)
    mailtrack = Mailtrack(app, mail=mail, db=db) if tracked else None
    with app.app_context():
        db.create_all()
    return app, mail, mailtrack


def people(first: int, count: int) -> Iterator[str]:
    """Addresses, one after the other."""
    return (f"reader{number}@example.com" for number in range(first, first + count))


def cpu_of(how: str, app: Flask, mail: Mail, mailtrack: Mailtrack | None, to: Iterator[str], count: int) -> float:
    """Send to *to*, and return the seconds of CPU for each mail."""
    with app.app_context():
        if mailtrack:
            mailtrack.flush()  # the drain of what was sent before is measured apart, in drain.py
        begun = time.process_time()
        if how == "send_each":
            assert mailtrack is not None
            # A function, as without us: what Jinja takes for values is the host's.
            report = mailtrack.send_each(_compose, to, key="bench", tag="bench")
            assert report.sent == count, report
        else:
            with mail.connect() as connection:
                for address in to:
                    message = _compose(address, {})
                    if mailtrack:
                        mailtrack.track(message, tag="bench")
                    connection.send(message)
        return (time.process_time() - begun) / count


def _compose(address: str, values: object) -> Message:
    return Message("Hello", recipients=[address], html=HTML)


def measure(mails: int) -> None:
    """Print the CPU of each way, in shuffled turns."""
    with tempfile.TemporaryDirectory() as folder, sink(f"{folder}/log") as port:
        plain, ours = make_app(port, False, f"{folder}/a"), make_app(port, True, f"{folder}/b")
        ways = {"untracked": plain, "tracked": ours, "send_each": ours}
        found: dict[str, list[float]] = {how: [] for how in ways}
        first, count = 0, mails // ROUNDS
        for _ in range(ROUNDS):
            for how in random.sample(list(ways), len(ways)):
                found[how].append(cpu_of(how, *ways[how], people(first, count), count))
                first += count
        for word, of in (("median", statistics.median), ("least", min)):
            seconds = {how: of(values) for how, values in found.items()}
            for how, each in seconds.items():
                print(f"{word:6} {how:10} {each * 1e6:.0f} us, {each / seconds['untracked']:.3f}")
        print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB at most")


def _campaign(port: int, folder: str, count: int, **options: Any) -> None:
    app, _, mailtrack = make_app(port, True, folder)
    with app.app_context():
        assert mailtrack is not None
        letter = Message("Hello", recipients=["-"], html=HTML)
        memory = [0, 0]

        def hears(copy: object, report: object) -> None:
            memory[0] += 1
            if memory[0] == 1_000:
                memory[1] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        print(
            mailtrack.send_each(letter, people(0, count), key="bench", tag="bench", hears=hears, **options), flush=True
        )
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"memory: {memory[1] // 1024} MB after 1,000 mails, {now // 1024} MB at the end", flush=True)


def kill(mails: int) -> None:
    """Kill a campaign five times, and look at what the server has taken."""
    with tempfile.TemporaryDirectory() as folder, sink(f"{folder}/log") as port:
        log = Path(folder, "log")
        for number in range(6):
            process = multiprocessing.Process(target=_campaign, args=(port, folder, mails))
            process.start()
            if number < 5:
                goal = (number + 1) * mails // 6
                while process.is_alive() and (not log.exists() or log.read_bytes().count(b"\n") < goal):
                    time.sleep(0.2)
                os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
        _show(log, mails)
        claims.IN_FLIGHT = timedelta()  # as if ten minutes had passed
        process = multiprocessing.Process(target=_campaign, args=(port, folder, mails), kwargs={"retry_unknown": True})
        process.start()
        process.join()
        _show(log, mails)


def _show(log: Path, mails: int) -> None:
    got = Counter(log.read_text().split())
    print(f"addresses: {len(got)}, twice: {sum(count > 1 for count in got.values())}, none: {mails - len(got)}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    work = kill if arguments[:1] == ["kill"] else measure
    work(int(next(iter(arguments[work is kill :]), 20_000)))
