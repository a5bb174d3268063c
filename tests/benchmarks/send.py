"""What tracking adds to a whole send: render, rows, SMTP. Run by hand.

``python tests/benchmarks/send.py [CORPUS]`` starts postfix's ``smtp-sink`` (a server in C, so that the
server's own cost does not hide ours), sends the same mails over shared connections in turns and prints
the ratios: ``tracked``; ``longer``, the body that tracking makes, sent without us, which is what the
length alone costs. Also a mail of 2 KB with three links, and one of plain text. Bodies have been seen
before. On a busy machine, ``chrt -f 40 taskset -c 1 python …`` gives numbers that can be repeated.
"""

from __future__ import annotations

import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask
from flask_mail import Mail, Message, email_dispatched
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack

ROUNDS, EACH = 25, 8
FILLER = "lorem ipsum dolor sit amet\n" * 125
LINKS = "".join(f'<p>{FILLER}<a href="https://example.com/{n}?a=1&amp;b=2">x</a></p>\n' for n in range(13))
SYNTHETIC = f"<!DOCTYPE html><html><body>{LINKS}</body></html>"
SMALL = f"<!DOCTYPE html><html><body>{LINKS[:1_200]}{LINKS[-400:]}{LINKS[-400:]}</body></html>"
Part = tuple[str, str]
"""``html`` or ``body``, and its text."""


@contextmanager
def sink() -> Iterator[int]:
    """Run smtp-sink on a free port and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(["smtp-sink", "-u", "nobody", f"127.0.0.1:{port}", "100"])
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def make_app(port: int, tracked: bool, folder: str) -> tuple[Flask, Mail]:
    """Return an app that sends to *port*, with or without us, on a real SQLite file."""
    app = Flask("bench")
    app.config.update(
        SECRET_KEY="k" * 40,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/bench.sqlite3",
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=port,
        MAIL_DEFAULT_SENDER="me@example.com",
        MAILTRACK_BASE_URL="https://links.example.com",
        MAILTRACK_SPOOL_DIR=f"{folder}/spool",
    )
    db, mail = SQLAlchemy(app), Mail(app)
    if tracked:
        Mailtrack(app, mail=mail, db=db)
        with app.app_context():
            db.create_all()
    return app, mail


def round_of(app: Flask, mail: Mail, parts: list[Part]) -> tuple[float, float]:
    """Send *EACH* mails with each part over one connection; return wall and CPU seconds per mail."""
    with app.app_context(), mail.connect() as connection:
        wall, cpu = time.perf_counter(), time.process_time()
        for kind, text in parts:
            for number in range(EACH):
                connection.send(Message("Hello", recipients=[f"reader{number}@example.com"], **{kind: text}))
        count = len(parts) * EACH
        return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


def longer(app: Flask, mail: Mail, bodies: list[str]) -> list[Part]:
    """Return what tracking makes of *bodies*."""
    made: list[Part] = []

    def keep(app: Flask, message: Message) -> None:
        made.append(("html", message.html or ""))

    with app.app_context(), email_dispatched.connected_to(keep):
        for html in bodies:
            mail.send(Message("Hello", recipients=["reader@example.com"], html=html))
    return made


def bodies_from(corpus: Path | None) -> list[str]:
    """Return six real mails of 30 to 80 KB, or a synthetic one of 46 KB with 13 links."""
    if corpus is None:
        return [SYNTHETIC]
    rows = [row.split("\t") for row in (corpus / "MANIFEST.tsv").read_text().splitlines()[1:]]
    fit = [(corpus / r[3], r[4]) for r in rows if 30_000 < int(r[5]) < 80_000 and int(r[7]) >= 5]
    bodies = [path.read_bytes().decode(charset) for path, charset in fit]
    # Without us, Flask-Mail sends longer lines as they are, which no server has to take; we encode them.
    return [body for body in bodies if max(map(len, body.splitlines())) < 700][:6]


def main() -> None:
    """Measure in shuffled turns and print the medians."""
    bodies = bodies_from(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    mails = {"large": [("html", html) for html in bodies], "small": [("html", SMALL)], "text": [("body", FILLER)]}
    with sink() as port, tempfile.TemporaryDirectory() as folder:
        plain, ours = make_app(port, False, folder), make_app(port, True, folder)
        turns = {(name, "untracked"): (plain, parts) for name, parts in mails.items()}
        turns |= {(name, "tracked"): (ours, parts) for name, parts in mails.items()}
        turns["large", "longer"] = (plain, longer(*ours, bodies))
        times: dict[tuple[str, str], list[tuple[float, float]]] = {turn: [] for turn in turns}
        for number in range(ROUNDS + 1):
            for turn in random.sample(list(turns), len(turns)):
                app, parts = turns[turn]
                measured = round_of(*app, parts)
                if number:  # the first round compiles
                    times[turn].append(measured)
    for index, unit in enumerate(("wall", "CPU")):
        middle = {turn: statistics.median(t[index] for t in found) for turn, found in times.items()}
        for (name, how), seconds in sorted(middle.items()):
            print(f"{unit:4} {name} {how:9} {seconds * 1e3:.2f} ms, {seconds / middle[name, 'untracked']:.3f}")


if __name__ == "__main__":
    main()
