"""Drainers that die: for each segment one that is killed when it has committed it, and then one that is not.

``python -m chaos.drainers KILLS`` with the environment of :mod:`chaos.host`; prints how many hits it
made and how many drainers were really killed. Children are forked: a hundred starts of Python would take minutes.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from chaos import host
from chaos.client import send_letters
from flask import Flask

OPENS = 3
PERSON = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"}
"""What a message counts: an agent that nobody knows would be counted neither as a person's nor as a machine's."""


def main(kills: int) -> None:
    """Kill *kills* drainers, each over a segment of its own, and let one more finish."""
    app = host.create_app()
    with app.app_context():
        host.db.create_all()
        letters = send_letters(host.mail, host.mailtrack, 10)
        host.db.engine.dispose()
    client, killed = app.test_client(), 0
    # Of a program that is neither a browser nor known to be a machine, nothing is counted.
    client.environ_base["HTTP_USER_AGENT"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    for number in range(kills):
        letter = letters[number % len(letters)]
        for _ in range(OPENS):
            client.get(letter.pixel, headers=PERSON)
        client.get(next(iter(letter.links)), headers=PERSON)
        killed += drain(app, deadly=True) == -signal.SIGKILL
    ended = drain(app, deadly=False)
    print(killed, ended, kills * (OPENS + 1))


def drain(app: Flask, deadly: bool) -> int:
    """Drain in a process of its own, which dies when it has committed the newest segment; return how it ended."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            if deadly:
                die_at_the_last(Path(os.environ["CHAOS_FOLDER"]))
            with app.app_context():
                host.mailtrack.flush()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_at_the_last(folder: Path) -> None:
    """Make the crash point of the app wait for the segment that no drainer has met before."""
    last = max(folder.joinpath("spool").rglob("events-*"))
    delete = host.Segment.delete

    def armed(segment: host.Segment) -> None:
        if segment.path == last:
            folder.joinpath(host.AIM).touch()
        delete(segment)

    host.Segment.delete = armed  # type: ignore[method-assign]


if __name__ == "__main__":
    main(int(sys.argv[1]))
