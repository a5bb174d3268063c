"""Two processes and PostgreSQL: a switch turned in one is obeyed by the other, which sends without a pause.

Run as a program, this file is the other process: it sends a campaign again and again, follows links that are out, and
writes down, for each copy and each click, when it was and what it looked like.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import BASE_URL, SECRET, MakeSite
from flask import Flask
from flask_mail import Mail, Message, email_dispatched
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack

PROMISED_SECONDS = 5.0
HTML = '<p><a href="https://example.com/?a=1&amp;b=2">go</a></p>'
TARGET = "https://example.com/?a=1&b=2"
PEOPLE = 200
PATIENCE = 60.0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_switch_turned_in_one_process_is_in_force_in_the_other_within_five_seconds(
    make_site: MakeSite, database_url: str, tmp_path: Any, record_property: Callable[[str, object], None]
) -> None:
    """A campaign under way obeys, no mail is tracked after that, and no link that is out leads elsewhere."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    with other_process(database_url, str(tmp_path)) as lines:
        seen = Seen(lines)
        seen.wait(lambda: len(seen.copies) > PEOPLE)
        assert all(copy["tracked"] for copy in seen.copies)
        for key in ("opens", "clicks"):
            site.mailtrack.settings.set(key, False, by="ops")
        off = time.time()
        seen.wait(lambda: bool(seen.copies) and not seen.copies[-1]["tracked"])
        obeyed = seen.copies[-1]["at"]
        seen.wait(lambda: seen.copies[-1]["at"] > off + PROMISED_SECONDS)
        after = [copy for copy in seen.copies if copy["at"] > obeyed]
        assert obeyed - off <= PROMISED_SECONDS
        assert not any(copy["tracked"] for copy in after)
        for key in ("opens", "clicks"):
            site.mailtrack.settings.set(key, True, by="ops")
        on = time.time()
        seen.wait(lambda: bool(seen.copies[-1]["tracked"]))
        assert seen.copies[-1]["at"] - on <= PROMISED_SECONDS
    assert {(click["status"], click["location"]) for click in seen.clicks} == {(302, TARGET)}
    figures = {
        "seconds until it was obeyed": round(obeyed - off, 2),
        "seconds until it was taken back": round(seen.copies[-1]["at"] - on, 2),
        "messages while it was off": len(after),
        "copies in a second": round(len(seen.copies) / (seen.copies[-1]["at"] - seen.copies[0]["at"])),
        "clicks": len(seen.clicks),
    }
    for name, value in figures.items():
        record_property(name, value)
    print(figures)  # shown with -s


class Seen:
    """What the other process has done so far."""

    def __init__(self, lines: queue.Queue[str]) -> None:
        self._lines = lines
        self.copies: list[dict[str, Any]] = []
        self.clicks: list[dict[str, Any]] = []

    def wait(self, until: Callable[[], bool]) -> None:
        """Read on until something has been seen."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            assert line, "the other process has ended"
            said = json.loads(line)
            (self.copies if "tracked" in said else self.clicks).append(said)


@contextmanager
def other_process(url: str, folder: str) -> Iterator[queue.Queue[str]]:
    """Yield what another process writes, line by line."""
    command = [sys.executable, "-W", "error", __file__, url, folder]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield lines
    finally:
        assert process.stdin
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        reader.join(PATIENCE)
        assert process.stdout
        process.stdout.close()


def main(url: str, folder: str) -> None:
    """Be the other process, until the standard input ends."""
    app = Flask("other", instance_path=folder)
    app.config.update(
        SECRET_KEY=SECRET,
        SQLALCHEMY_DATABASE_URI=url,
        MAIL_SUPPRESS_SEND=True,
        MAIL_DEFAULT_SENDER="news@example.org",
        MAILTRACK_BASE_URL=BASE_URL,
    )
    db, mail = SQLAlchemy(app), Mail(app)
    Mailtrack(app, mail=mail, db=db)
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()

    def sent(app: Any, message: Any) -> None:
        say(at=time.time(), tracked="/m/o/" in message.html or "/m/c/" in message.html)

    with app.app_context():
        link = first_link(mail)
        clicker = threading.Thread(target=click, args=(app, link, over), daemon=True)
        clicker.start()
        with email_dispatched.connected_to(sent, app):
            while not over.is_set():
                people = [f"p{number}@example.com" for number in range(PEOPLE)]
                mail.send(Message("Hello", recipients=people, html=HTML))
        clicker.join()
        db.engine.dispose()


def first_link(mail: Mail) -> str:
    """Return the path of a link in a mail that is out."""
    with mail.record_messages() as outbox:
        mail.send(Message("Hello", recipients=["ada@example.com"], html=HTML))
    return str(outbox[0].html.split(BASE_URL)[1].split('"')[0])


def click(app: Flask, link: str, over: threading.Event) -> None:
    """Follow a link again and again."""
    client = app.test_client()
    while not over.wait(0.02):
        answer = client.get(link, base_url=BASE_URL)
        say(status=answer.status_code, location=answer.location)


_saying = threading.Lock()


def say(**what: Any) -> None:
    """Write a line."""
    with _saying:
        print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
