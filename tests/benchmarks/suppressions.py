"""A million suppressions: how long an import takes, how much memory, and what a send then costs.

Run it with the URL of an empty database: ``python tests/benchmarks/suppressions.py URL [ROWS]``.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack
from flask_mailtrack.storage.people.suppression_list import SuppressionFile, load

RECIPIENTS = 10_000


def main(url: str, rows: int) -> None:
    """Import *rows*, again, and ask about 10,000 recipients under one key and under three."""
    folder = Path(tempfile.mkdtemp())
    file = folder / "suppressions.csv"
    with file.open("w") as out:
        out.write("email,reason,created\n")
        out.writelines(f"person{n}@example.com,bounce,1700000000\n" for n in range(rows))
    app = Flask("benchmark", instance_path=str(folder))
    app.config.update(
        SECRET_KEY="a secret that is long enough",
        SECRET_KEY_FALLBACKS=["another secret that is long enough", "a third secret that is long enough"],
        MAILTRACK_BASE_URL="https://links.example.com",
        SQLALCHEMY_DATABASE_URI=url,
    )
    db, mail = SQLAlchemy(app), Mail(app)
    mailtrack = Mailtrack(app, mail=mail, db=db)
    with app.app_context():
        db.create_all()
        state = mailtrack._state()
        for name in ("first import", "second import"):
            began = time.perf_counter()
            done = load(state.people, SuppressionFile(file))
            took = time.perf_counter() - began
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(f"{name}: {done.added} added, {took:.1f} s, {rows / took:,.0f} rows a second, peak {peak} MiB")
        asked: list[object] = []
        sa.event.listen(db.engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
        people = [f"person{n * 97 % (2 * rows)}@example.com" for n in range(RECIPIENTS)]
        for _ in range(2):
            asked.clear()
            began = time.perf_counter()
            refused = state.optouts.among(people, "news")
            took = time.perf_counter() - began
            print(f"{RECIPIENTS} recipients, 3 keys: {len(asked)} queries, {took:.2f} s, {len(refused)} refused")
        began = time.perf_counter()
        state.optouts.silent(people[:1])
        print(f"one recipient of a mail without a list: {time.perf_counter() - began:.4f} s")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
