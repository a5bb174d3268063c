"""What tracking adds to a whole send: render, rows, SMTP. Run by hand.

``python tests/benchmarks/send.py [CORPUS]`` starts postfix's ``smtp-sink`` (a server in C, so that the
server's own cost does not hide ours), sends the same mails over shared connections with and without
tracking, in turns, and prints the ratio. Bodies have been seen before.
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
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack

ROUNDS, EACH = 25, 8
FILLER = "lorem ipsum dolor sit amet\n" * 125
LINKS = "".join(f'<p>{FILLER}<a href="https://example.com/{n}?a=1&amp;b=2">x</a></p>\n' for n in range(13))
SYNTHETIC = f"<!DOCTYPE html><html><body>{LINKS}</body></html>"


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


def round_of(app: Flask, mail: Mail, bodies: list[str]) -> tuple[float, float]:
    """Send *EACH* mails with each body over one connection; return wall and CPU seconds per mail."""
    with app.app_context(), mail.connect() as connection:
        wall, cpu = time.perf_counter(), time.process_time()
        for html in bodies:
            for number in range(EACH):
                connection.send(Message("Hello", recipients=[f"reader{number}@example.com"], html=html))
        count = len(bodies) * EACH
        return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


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
    with sink() as port, tempfile.TemporaryDirectory() as folder:
        apps = {"untracked": make_app(port, False, folder), "tracked": make_app(port, True, folder)}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in apps}
        for number in range(ROUNDS + 1):
            for name in random.sample(list(apps), len(apps)):
                measured = round_of(*apps[name], bodies)
                if number:  # the first round compiles
                    times[name].append(measured)
        for index, unit in enumerate(("wall", "CPU")):
            plain, ours = (statistics.median(t[index] for t in times[n]) for n in ("untracked", "tracked"))
            print(f"{unit:4}: untracked {plain * 1e3:.2f} ms, tracked {ours * 1e3:.2f} ms, ratio {ours / plain:.3f}")


if __name__ == "__main__":
    main()
