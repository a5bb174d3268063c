"""People who leave a list, come back and leave it again, on two machines in turn, and what they are mailed meanwhile.

What each of them was told last is a promise: whoever was told "You have been unsubscribed" gets no letter, and whoever
was told "You are subscribed again" gets the next. Machines without a Redis know of each other by the database
alone, so what one of them was told counts for the other from when it has drained it; on its own it counts at once.
"""

from __future__ import annotations

import http.client
import itertools
import random
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

OUT, BACK, NOTED = "You have been unsubscribed", "You are subscribed again", "Your request has been saved"
THREADS = 3
ONE_CLICK = "You are unsubscribed."
"""The answer to a mail client's own button, which nobody reads."""
_TIMEOUT = 10
_CHANGES = (2, 3)  # of one person, one after the other
_WAYS = 3  # letters whose links somebody keeps, the oldest first
_UNDO = re.compile(r'name="shown" value="([0-9a-f ]*)">\s*<button name="action" value="(undo|undo_all)"')
Reply = tuple[int, str]
"""Status and text of an answer; status 0: nothing came."""


@dataclass(frozen=True)
class Machine:
    """A server with a journal of its own."""

    folder: Path
    port: int
    pid: int
    """Of gunicorn's master."""

    def drained(self, asked: float) -> bool:
        """Say whether the database has the choices that this machine was told of by then.

        A segment has the moment of its beginning in its name, and is there until what it holds is committed.
        """
        return all(int(path.name.split("-")[1]) > asked for path in self.folder.rglob("optouts-*.jsonl"))


@dataclass
class Person:
    """Somebody, and what they know."""

    address: str
    ways: list[str]
    """Paths by which they may leave, of the newest letters."""
    told: str = ""
    """``OUT`` or ``BACK``, as they were told last; empty if they cannot know."""
    by: int = 0
    """The machine that told them."""
    unread: dict[int, float] = field(default_factory=dict)
    """When, in nanoseconds, each machine was last asked for a refusal that its journal may still hold."""


@dataclass
class Leavers:
    """Changes of mind from several threads, each about people of its own, at a steady rate.

    :param people: by address, a path by which they may leave.
    :param rate: changes in a second, of all threads; a letter follows each.
    """

    machines: list[Machine]
    ways: dict[str, str]
    rate: float
    seed: int
    figures: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, list[str]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self.people = [Person(address, [way]) for address, way in self.ways.items()]

    def __enter__(self) -> Leavers:
        for number in range(THREADS):
            given = (random.Random(f"{self.seed}/leaver/{number}"), self.people[number::THREADS])
            thread = threading.Thread(target=self._live, args=given)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def blame(self, kind: str, what: object) -> None:
        """Remember what must not have happened."""
        self.wrong.setdefault(kind, []).append(str(what))

    def judge(self, mailed: set[str]) -> None:
        """Compare what people were told last with who is mailed when everything is drained."""
        for person in self.people:
            if person.told == OUT and person.address in mailed:
                self.blame("mailed after all", person)
            elif person.told == BACK and person.address not in mailed:
                self.blame("not subscribed again", person)
            self.figures[f"in the end: {person.told or 'not told for sure'}"] += 1

    def _live(self, draw: random.Random, people: list[Person]) -> None:
        lines = [Line(machine.port, self) for machine in self.machines]
        due = time.monotonic() + draw.random() * THREADS / self.rate
        for person in itertools.cycle(people):
            if self._over.wait(max(0, due - time.monotonic())):
                break
            due = max(due + sum(_CHANGES) / len(_CHANGES) * THREADS / self.rate, time.monotonic() - 1)
            self._send(lines, person, draw.randrange(2))  # what they were told last time has come to the database
            first = draw.randrange(2)
            for turn in range(
                draw.choice(_CHANGES)
            ):  # at once, so that machines drain in another order than people choose
                self._change(lines, person, (first + turn) % 2, draw)
                if draw.random() < 0.3:  # not each time: a send drains its machine before
                    self._send(lines, person, draw.randrange(2))
        for line in lines:
            line.close()

    def _change(self, lines: list[Line], person: Person, here: int, draw: random.Random) -> None:
        if person.told != BACK and draw.random() < 0.7 and self._undo(lines, person, here, draw):
            return
        self._leave(lines, person, here, draw)

    def _leave(self, lines: list[Line], person: Person, here: int, draw: random.Random) -> None:
        body = {"action": "unsubscribe"} if draw.random() < 0.3 else {"List-Unsubscribe": "One-Click"}
        began = time.monotonic()
        status, text = lines[here].ask("POST", draw.choice(person.ways), body)
        self.figures[f"left: {status}"] += 1
        person.unread[here] = max(person.unread.get(here, 0), time.time_ns())
        if not status and time.monotonic() - began > _TIMEOUT * 0.9:  # it may be written at any time yet
            person.unread[here] = float("inf")
        if status == 200 and (OUT in text or ONE_CLICK in text):
            person.told, person.by = OUT, here
        elif status == 200:
            self.blame("not told to be unsubscribed", text[:500])
        elif person.told == BACK:
            person.told = ""

    def _undo(self, lines: list[Line], person: Person, here: int, draw: random.Random) -> bool:
        """Undo on one machine what the page of one of them shows; say whether there was anything to undo."""
        seen = person.by if draw.random() < 0.7 else draw.randrange(2)
        # The page of one machine does not show what only the other one knows.
        sure = all(self._has_read(person, other) for other in range(len(lines)) if other != seen)
        way = draw.choice(person.ways)
        status, text = lines[seen].ask("GET", way)
        form = _UNDO.search(text) if status == 200 else None
        if form is None:
            return False
        person.told = ""
        status, text = lines[here].ask("POST", way, {"action": form[2], "shown": form[1]})
        self.figures[f"came back: {status}"] += 1
        if status == 200 and BACK in text and sure:
            person.told, person.by = BACK, here
        elif status == 200 and BACK not in text and NOTED not in text:
            self.blame("not told what became of an undo", text[:500])
        return True

    def _has_read(self, person: Person, machine: int) -> bool:
        """Say whether the database knows all that *machine* was asked of somebody."""
        asked = person.unread.get(machine)
        if asked is not None and self.machines[machine].drained(asked):
            del person.unread[machine]
        return machine not in person.unread

    def _send(self, lines: list[Line], person: Person, here: int) -> None:
        known = person.told == OUT and (here == person.by or self._has_read(person, person.by))
        status, text = lines[here].ask("POST", f"/letters/{person.address}", {})
        self.figures[f"letter: {status}"] += 1
        self.figures["letters to who was told that none comes"] += known and bool(status)
        if status == 200:
            person.ways = [*person.ways[1 - _WAYS :], urlsplit(text).path]
            if known:
                self.blame("mailed after leaving", person)


class Line:
    """One connection to one machine."""

    def __init__(self, port: int, leavers: Leavers) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        self._leavers = leavers
        self.close = self._connection.close

    def ask(self, method: str, path: str, form: dict[str, str] | None = None) -> Reply:
        """Make a request of a browser and return the answer."""
        number = next(self._leavers._numbers)
        name = f"Mozilla/5.0 (X11; Linux x86_64; leaver {number}) Chrome/140.0.0.0 Safari/537.36"
        self._leavers.names.add(name)
        headers = {"User-Agent": name, "Accept-Language": "en", "Content-Type": "application/x-www-form-urlencoded"}
        body: Any = None if form is None else urlencode(form)
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens it again
            return 0, ""
        if response.status not in (200, 204, 503):
            self._leavers.blame(f"status {response.status}", text[:500])
        return response.status, text
