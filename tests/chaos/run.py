"""The chaos run: two gunicorns, a minute apart by their clocks, and a PostgreSQL, under load, while nearly all fails.

By hand: ``cd tests && python -m chaos.run --seconds 600 --kills 200``. Prints the figures as JSON; the
exit code is 3 if anything was lost, doubled, wrong or slow. With ``--sabotage`` a guard is switched
off, and the run has to find that.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from chaos import host, oracle
from chaos.client import LIST, Crowd, send_letters
from chaos.faults import Faults, Limit, Tmpfs
from chaos.leavers import Leavers, Machine
from flask import Flask
from flask_mail import Message
from postgresql_server import Server, postgresql_server, programs

WRONG = 3
"""The exit code of a run that found something wrong; a run that fails itself has another."""
PEOPLE = 24
"""They change their minds, again and again."""
CLOCK = 60
"""So many seconds the clock of the second machine is ahead."""


def main(arguments: list[str] | None = None) -> int:
    """Run it, print the figures, and return the exit code."""
    options = parse(arguments)
    binaries = programs()
    if binaries is None:
        sys.exit("PostgreSQL's initdb and pg_ctl are not there")
    folder = Path(tempfile.mkdtemp(prefix="mailtrack-chaos-"))
    try:
        with postgresql_server(binaries) as database:
            os.environ |= {"CHAOS_DATABASE": database.url, "CHAOS_SYNC": options.sync}
            os.environ["CHAOS_DRAIN"] = "manual"  # here; the workers have threads for it
            figures = run(options, database, folder)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(figures, indent=1))
    return WRONG if figures["wrong"] else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--kills", type=int, default=200, help="workers killed; a quarter between commit and delete")
    parser.add_argument("--rate", type=float, default=120, help="requests in a second")
    parser.add_argument("--changes", type=float, default=12, help="changes of mind in a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hung-ms", type=float, default=20, help="by how much p99 may rise while the database hangs")
    parser.add_argument("--sync", choices=["each", "group", "off"], default="group")
    parser.add_argument("--sabotage", choices=[name for name in host.SABOTAGES if name], default="")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, database: Server, folder: Path) -> dict[str, object]:
    """Send, load, break, drain, judge."""
    master: list[int] = []
    first, second = places = folder / "one", folder / "two"
    for place in places:
        place.mkdir()
    spool = first / "spool"
    disk = Tmpfs(spool) if os.getuid() == 0 else Limit(spool, lambda: master[0])
    try:
        apps = [host.create_app(str(place)) for place in places]
        with apps[0].app_context():
            host.db.create_all()
            letters = send_letters(host.mail, host.mailtrack, int(options.seconds * options.rate * 0.12))
            ways = {each.recipient: each.unsubscribe for each in letters[:PEOPLE]}
            host.mailtrack.flush()
        # The second machine drains later, so that the database learns of things in another order than they happen.
        slow = {"CHAOS_CLOCK": str(CLOCK), "CHAOS_PAUSE": "1.5"}
        with gunicorn(first, options.sabotage) as one, gunicorn(second, options.sabotage, **slow) as two:
            for machine in (one, two):
                wait_for_answer(machine.port)  # gunicorn listens long before its workers do
            master.append(one.pid)
            leavers = Leavers([one, two], ways, options.changes, options.seed)
            with Crowd(one.port, letters[PEOPLE:], options.rate, options.seed) as crowd, leavers:
                draw = random.Random(options.seed)
                faults = Faults(database, disk, [one, two], options.seconds, options.kills, draw)
                faults.play()
            for machine in (one, two):  # both at once: each has workers that may take a while
                os.kill(machine.pid, signal.SIGTERM)
        for place in places:
            place.joinpath(host.AIM).unlink(missing_ok=True)
        kept, mailed = settle(apps, list(ways), [place / "log" for place in places])
        leavers.judge(mailed)
        verdict = oracle.judge(crowd.answers, leavers, kept, faults.periods, options.hung_ms)
        waiting = sorted(p.name for p in folder.rglob("*s-*.jsonl"))
        if waiting:
            verdict.wrong["left in the spool"] = len(waiting)
        torn = sum(len(p.read_bytes().splitlines()) for p in folder.rglob("bad-*"))
    finally:
        disk.close()
    return asdict(verdict) | {
        "killed": faults.killed,
        "aimed": faults.aimed,
        "torn lines": torn,
        "full disk": disk.kind,
    }


def settle(apps: list[Flask], people: list[str], logs: list[Path]) -> tuple[oracle.Kept, set[str]]:
    """Drain what each machine has, and return what is kept, and who of *people* is mailed now."""
    for app in apps:
        with app.app_context():
            host.db.engine.dispose()  # its connections are to a server that has been stopped
            while host.mailtrack.flush():
                pass
    with apps[0].app_context():
        kept = oracle.read_rows(host.mailtrack, host.db.engine, [line for log in logs for line in oracle.read_log(log)])
        with host.mail.record_messages() as outbox:
            for person in people:
                host.mail.send(
                    host.mailtrack.track(Message("Last", recipients=[person], html="<p>Last</p>"), list_id=LIST)
                )
        host.mailtrack.flush()
    for app in apps:
        with app.app_context():
            host.db.engine.dispose()
    return kept, {recipient for message in outbox for recipient in message.recipients}


@contextmanager
def gunicorn(folder: Path, sabotage: str, **environment: str) -> Iterator[Machine]:
    """Serve the app with three workers; its log goes to a file, but through us, so that no limit holds for it."""
    server = socket.create_server(("127.0.0.1", 0), backlog=128)  # handed on, so that nobody can take the port first
    port = int(server.getsockname()[1])
    # As a configuration, so that the master imports it: else each new worker does, for seconds on a busy machine.
    command = [sys.executable, "-m", "gunicorn", "-c", "python:chaos.host"]
    command += ["-w", "3", "-k", "gthread", "--threads", "4"]
    process = subprocess.Popen(
        [*command, "-b", f"fd://{server.fileno()}", "--graceful-timeout", "5", "chaos.host:create_app()"],
        env=os.environ
        | {"CHAOS_DRAIN": "thread", "CHAOS_SABOTAGE": sabotage, "PYTHONPATH": os.pathsep.join(sys.path)}
        | {"CHAOS_FOLDER": str(folder)}
        | environment,
        stderr=subprocess.PIPE,
        pass_fds=[server.fileno()],
    )
    server.close()
    with (folder / "log").open("wb", buffering=0) as log:
        copier = threading.Thread(target=log.writelines, args=(process.stderr,))
        copier.start()
        try:
            yield Machine(folder, port, process.pid)
        except BaseException:
            sys.stderr.write((folder / "log").read_text(errors="replace")[-3000:])
            raise
        finally:
            process.terminate()
            process.wait(30)
            copier.join()


def wait_for_answer(port: int) -> None:
    """Return when the server has answered."""
    end = time.monotonic() + 30
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/m/o/ready.gif")
            connection.getresponse().read()
            return
        except (OSError, HTTPException):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        finally:
            connection.close()


if __name__ == "__main__":
    sys.exit(main())
