"""What a click costs: CPU time beside a bare Flask redirect, and beside a row committed in the view. Run by hand.

``python tests/benchmarks/request.py`` calls each app in process, with environs made beforehand, in turns;
then again behind gunicorn, one worker each. It prints ratios to the bare redirect of the same run, and beside
what has a limit whether it is kept: a recorded click 0.6 in process and 0.8 behind gunicorn, a pixel no more than a
click, the page of a bad link 1.2.
Two floors stand beside: ``bare synced`` writes a line and waits for the disk, and nothing else; ``ours HEAD``
verifies and redirects, and records nothing. ``BENCH_POSTGRESQL`` is the URL of another server than the local one.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from flask import Flask, redirect, request
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Response

from flask_mailtrack import Mailtrack
from flask_mailtrack.events import new_id
from flask_mailtrack.testing import Reader

VARIANTS = ("bare", "bare synced", "ours off", "ours group", "ours each", "commit SQLite", "commit PostgreSQL")
POSTGRESQL = os.environ.get("BENCH_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
TABLE = "mailtrack_bench_click"
CLICK, PIXEL, BAD = "ours group", "ours pixel", "bad token, click (404 page)"
IN_PROCESS, BEHIND_GUNICORN = {CLICK: 0.6, BAD: 1.2}, {CLICK: 0.8}
CLIENTS = 4
ROUNDS, EACH, LINKS, AGENTS = 40, 100, 200, 50
LINE = b"x" * 480 + b"\n"
TARGET = "https://shop.example.com/spring/sale?utm_source=mail&utm_campaign=42&item={}"
BROWSER = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Connection": "keep-alive",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "cross-site",
    "Upgrade-Insecure-Requests": "1",
}
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36"


def bare() -> tuple[Flask, list[str]]:
    """Return an app that redirects, and paths to ask it for."""
    app = Flask("bare")
    app.secret_key = "k" * 40
    app.add_url_rule("/r/<int:number>", "click", lambda number: redirect(TARGET.format(number)))
    return app, [f"/r/{n}" for n in range(LINKS)]


def synced(folder: Path) -> tuple[Flask, list[str]]:
    """Return an app that writes a line of usual length and waits for the disk before it redirects."""
    app = Flask("synced")
    app.secret_key = "k" * 40
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / "lines", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def click(number: int) -> Response:
        os.write(fd, LINE)
        os.fdatasync(fd)
        return redirect(TARGET.format(number))

    app.add_url_rule("/r/<int:number>", "click", click)
    return app, [f"/r/{n}" for n in range(LINKS)]


def committing(url: str) -> tuple[Flask, list[str]]:
    """Return an app that inserts and commits a row before it redirects."""
    app = Flask("committing")
    app.config.update(SECRET_KEY="k" * 40, SQLALCHEMY_DATABASE_URI=url)
    db = SQLAlchemy(app)

    class Click(db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = TABLE
        id: Mapped[str] = mapped_column(primary_key=True)
        number: Mapped[int]
        agent: Mapped[str]

    with app.app_context():
        db.create_all()

    def click(number: int) -> Response:
        db.session.add(Click(id=uuid4().hex, number=number, agent=request.headers["User-Agent"]))
        db.session.commit()
        return redirect(TARGET.format(number))

    app.add_url_rule("/r/<int:number>", "click", click)
    return app, [f"/r/{n}" for n in range(LINKS)]


def tracked(folder: Path, sync: str, drain: str = "manual") -> tuple[Flask, list[str]]:
    """Return an app of ours, and links that it has mailed."""
    folder.mkdir(parents=True, exist_ok=True)
    app = Flask("tracked")
    app.config.update(
        SECRET_KEY="k" * 40,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/bench.sqlite3",
        MAIL_SUPPRESS_SEND=True,
        MAIL_DEFAULT_SENDER="a@example.org",
        MAILTRACK_BASE_URL="https://links.example.com",
        MAILTRACK_SPOOL_DIR=str(folder / "spool"),
        MAILTRACK_SPOOL_SYNC=sync,
        MAILTRACK_DRAIN=drain,
        MAILTRACK_THRESHOLDS={"instant": 0},
    )
    db, mail = SQLAlchemy(app), Mail(app)
    mailtrack = Mailtrack(app, mail=mail, db=db)
    with app.app_context(), mail.record_messages() as outbox:
        db.create_all()
        for n in range(LINKS):
            mail.send(Message("Hello", recipients=[f"r{n}@example.com"], html=f'<a href="{TARGET.format(n)}">x</a>'))
        mailtrack.flush()
    return app, [urlsplit(Reader(None, message).links[0].url).path for message in outbox]  # type: ignore[arg-type]


def headers(number: int) -> dict[str, str]:
    """Return the headers of one of the browsers."""
    return BROWSER | {"User-Agent": AGENT.format(100 + number % AGENTS)}


def caller(app: Flask, paths: list[str], method: str = "GET") -> Callable[[int], float]:
    """Return a function that makes a number of requests and returns the CPU seconds of one."""
    environs = [EnvironBuilder(path, headers=headers(n), method=method).get_environ() for n, path in enumerate(paths)]

    def call(count: int) -> float:
        given = [{**environs[n % len(environs)], "REMOTE_ADDR": f"203.0.113.{n % 250}"} for n in range(count)]
        began = time.process_time()
        for environ in given:
            body = app.wsgi_app(environ, _start)
            for _ in body:
                pass
            if close := getattr(body, "close", None):
                close()
        return (time.process_time() - began) / count

    return call


def _start(status: str, headers: list[Any], exc_info: Any = None) -> Any:
    if status[0] not in "234":
        raise RuntimeError(status)


def pixels(folder: Path) -> tuple[Flask, list[str]]:
    """Return an app of ours, and pixels of its own."""
    app, links = tracked(folder, "group")
    signer = app.extensions["mailtrack"]._state_of(app).signer
    return app, [f"/m/o/{signer.message(new_id()).open()}.gif" for _ in links]


def compare(
    calls: dict[str, Callable[[int], float]], base: str, rounds: int, each: int, limits: Mapping[str, float]
) -> None:
    """Make all calls in turns, in another order each time, and print each one's median and its ratio to *base*."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call(each)
    for _ in range(rounds):
        for name in random.sample(list(calls), len(calls)):
            times[name].append(calls[name](each))
    ratios = {
        name: statistics.median(mine / its for mine, its in zip(found, times[base], strict=True))
        for name, found in times.items()
    }
    allowed = dict(limits) | ({PIXEL: ratios[CLICK]} if PIXEL in ratios else {})
    for name, ratio in ratios.items():
        said = f"  {'kept' if ratio <= allowed[name] else 'BROKEN'}: {allowed[name]:.2f}" if name in allowed else ""
        print(f"{name:32} {statistics.median(times[name]) * 1e6:8.0f} us {ratio:6.2f} x{said}")


def make(variant: str, folder: Path) -> tuple[Flask, list[str]]:
    """Return the app of that name, and what to ask it for."""
    kind, _, rest = variant.partition(" ")
    if kind == "bare":
        return synced(folder / "synced") if rest else bare()
    if kind == "commit":
        return committing(f"sqlite:///{folder}/commit.sqlite3" if rest == "SQLite" else POSTGRESQL)
    sync, _, drain = rest.partition(" ")
    return tracked(folder / variant.replace(" ", "-"), sync, drain or "manual")


def wsgi() -> Flask:
    """Return the app that gunicorn serves."""
    return make(os.environ["BENCH"], Path(os.environ["BENCH_FOLDER"]))[0]


@contextmanager
def served(variant: str, folder: Path) -> Iterator[Callable[[int], float]]:
    """Serve an app with one worker of gunicorn; yields the same kind of function as :func:`caller` returns."""
    home = folder / f"served-{variant}"
    home.mkdir()
    paths = make(variant, folder / "paths")[1]  # any app of ours reads them: the secret is the same
    server = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = int(server.getsockname()[1])
    command = [sys.executable, "-m", "gunicorn", "-k", "gthread", "--threads", "4", "-b", f"fd://{server.fileno()}"]
    process = subprocess.Popen(
        [*command, "--keep-alive", "60", "request:wsgi()"],
        env=os.environ | {"BENCH": variant, "BENCH_FOLDER": str(home)},
        cwd=Path(__file__).parent,
        stderr=subprocess.DEVNULL,
        pass_fds=[server.fileno()],
    )
    server.close()

    def ask(count: int, first: int) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        for number in range(first, first + count):
            connection.request("GET", paths[number % len(paths)], headers=headers(number))
            answer = connection.getresponse()
            answer.read()
            if answer.status != 302:
                raise RuntimeError(answer.status)
        connection.close()

    def call(count: int) -> float:
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        began = spent(worker)
        threads = [threading.Thread(target=ask, args=(count // CLIENTS, n * 17)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while variant.endswith("thread") and list(home.glob("*/spool/events-*")):
            time.sleep(0.05)  # its draining is part of what it costs
        return (spent(worker) - began) / count

    try:
        ask(1, 0)  # waits until there is a worker
        yield call
    finally:
        process.terminate()
        process.wait()


def spent(pid: str) -> float:
    """Return the CPU seconds that the threads of a process have used."""
    # Those of /proc/PID/stat are counted in hundredths, which is what 30 requests take.
    used = (task.read_text().split()[0] for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(map(int, used)) / 1e9


def in_process(folder: Path) -> None:
    """Compare what one call costs, without any server."""
    calls = {variant: caller(*make(variant, folder)) for variant in VARIANTS}
    app, (path, *others) = tracked(folder / "bad", "group")
    calls["ours HEAD"] = caller(app, [path, *others], "HEAD")
    bad = path.rpartition("/")[0][:-1] + ("a" if path.rpartition("/")[0][-1] != "a" else "b")
    calls[PIXEL] = caller(*pixels(folder / "pixels"))
    calls[BAD] = caller(app, [bad])
    calls["bad token, open (GIF)"] = caller(app, [bad.replace("/c/", "/o/")])
    compare(calls, VARIANTS[0], ROUNDS, EACH, IN_PROCESS)


def behind_gunicorn(folder: Path) -> None:
    """Compare what a worker spends on one request."""
    folder.joinpath("paths").mkdir()
    with ExitStack() as stack:
        variants = [*VARIANTS, "ours group thread"]
        calls = {variant: stack.enter_context(served(variant, folder)) for variant in variants}
        compare(calls, VARIANTS[0], 8, 2_000, BEHIND_GUNICORN)


if __name__ == "__main__":
    logging.disable()  # bad tokens are logged; that is measured by test, not here
    try:
        for compared in (in_process, behind_gunicorn):
            print(compared.__doc__, f"Load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.")
            with tempfile.TemporaryDirectory() as temporary:
                compared(Path(temporary))
    finally:
        engine = create_engine(POSTGRESQL)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {TABLE}")
        engine.dispose()
