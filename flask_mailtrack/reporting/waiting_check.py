"""The findings about what waits in the journal, in Redis and for the endpoints of webhooks, and about who calls."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from flask_mailtrack.config import Settings
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.services import SERVICE_PATH
from flask_mailtrack.storage.drain.shipping import CURE
from flask_mailtrack.storage.journal.backlog import weakness
from flask_mailtrack.storage.journal.directory import bad_files, foreign_segments, intrusion, make, strangers
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.journal.service_calls import CallCount, ServiceCalls
from flask_mailtrack.storage.journal.signatures import CAUSE, Signatures
from flask_mailtrack.storage.redis import BAD, EVENTS, OPTOUTS, REFUSED, Stream
from flask_mailtrack.storage.tables.outbox import WebhookOutbox
from flask_mailtrack.webhook import DeliveryState

from .remedies import Finding


def journal_findings(journals: Sequence[Journal], *, lasting: bool) -> Iterator[Finding]:
    """Yield the findings about the directories of the journal.

    :param lasting: the place must outlive a reboot; that of a test need not.
    """
    first, second, *older = (spool.directory for spool in journals[0].spools)
    try:
        make(first)
        with tempfile.TemporaryFile(dir=first) as probe:  # a real write, because permissions do not show a full disk
            probe.write(bytes(4096))
    except OSError as error:
        text = Phrase("the spool %(path)s cannot be used: %(error)s", path=first, error=error)
        yield Finding("C20", "error", text)
    else:
        yield _readers(first, sum(journal.size() for journal in journals))
    if many := Signatures(first).read():
        yield Finding("C14", "warning", _badly_signed(many))
    places = [first, second, *older]
    yield from _kept(places, journals[-1].spools[0].stream)
    if lasting and (weak := weakness(first)):
        yield Finding("C22", "warning", Phrase("the spool %(path)s is on %(weak)s", path=first, weak=weak))
    yield from _foreigners(places, {journal.spools[0].stream for journal in journals})
    for place in journals[0].doubtful:
        cure = f"flask mailtrack recover {place}/*.jsonl"
        text = Phrase(
            "%(path)s holds rows, and nothing says of which app: if they are this app's: %(cure)s",
            path=place,
            cure=cure,
        )
        yield Finding("C28", "error", text)
    if trouble := intrusion(second):
        text = Phrase(
            "the second spool %(path)s %(trouble)s %(cure)s", path=second, trouble=trouble[0], cure=trouble[1]
        )
        yield Finding("C24", "error", text)


def _badly_signed(many: int) -> Phrase:
    return Phrase.counted(
        many,
        "%(number)s link of our own form had a bad signature within an hour: %(cause)s",
        "%(number)s links of our own form had a bad signature within an hour: %(cause)s",
        cause=CAUSE,
    )


def _kept(places: Sequence[Path], optouts: str) -> Iterator[Finding]:
    """Yield what is in quarantine."""
    if bad := [path for place in places for path in bad_files(place)]:
        text = Phrase("records that could not be stored are kept in %(paths)s", paths=bad)
        yield Finding("C21", "warning", text)
    if lost := [path for place in places for path in bad_files(place, optouts)]:
        text = Phrase(
            "opt-outs that could not be stored are kept in %(paths)s: "
            "mend the table, then run flask mailtrack recover --quarantine",
            paths=lost,
        )
        yield Finding("C26", "error", text)


def _foreigners(places: Sequence[Path], streams: set[str]) -> Iterator[Finding]:
    """Yield the files of others."""
    if others := [repr(str(place / name)) for place in places for name in strangers(place, streams)]:
        yield Finding("C23", "warning", Phrase("not ours, and left alone: %(paths)s", paths=others))
    theirs = [repr(str(path)) for place in places for each in sorted(streams) for path in foreign_segments(place, each)]
    if theirs:
        text = Phrase(
            "of another user, and so not read: %(paths)s: chown them to user %(user)s, as whom the app runs",
            paths=theirs,
            user=str(os.geteuid()),
        )
        yield Finding("C27", "error", text)


def _readers(directory: Path, size: int) -> Finding:
    if stat.S_IMODE(directory.stat().st_mode) & 0o077:
        text = Phrase("the spool %(path)s is open to other users: chmod 700 it", path=directory)
        return Finding("C20", "warning", text)
    text = Phrase.counted(
        size, "spool %(path)s, %(number)s byte waits", "spool %(path)s, %(number)s bytes wait", path=directory
    )
    return Finding("C20", "ok", text)


def stream_finding(stream: Stream, limit: int) -> Finding:
    """Return the finding about Redis.

    :param limit: entries that the stream may hold.
    :raises StreamError: Redis is away, or takes nothing.
    """
    # Any of these names may belong to something else than a directory.
    waiting, bad, refused, _ = (stream.length(key) for key in (EVENTS, BAD, REFUSED, OPTOUTS))
    stream.try_to_write()
    where, refusal = stream.where, stream.refusal()
    if refusal:
        text = Phrase("Redis at %(where)s %(why)s: rows go straight to the database", where=where, why=refusal)
        return Finding("C25", "error", text)
    if waiting > 0.8 * limit:
        text = Phrase(
            "Redis at %(where)s holds %(number)s of %(limit)s entries: nobody drains?",
            where=where,
            number=waiting,
            limit=limit,
        )
        return Finding("C25", "warning", text)
    if bad or refused:
        return _kept_in_redis(stream, bad, refused)
    text = Phrase.counted(
        waiting,
        "Redis at %(where)s, %(number)s entry waits",
        "Redis at %(where)s, %(number)s entries wait",
        where=where,
    )
    return Finding("C25", "ok", text)


def _kept_in_redis(stream: Stream, bad: int, refused: int) -> Finding:
    others = sum(not stream.is_for_us(line) for _, line in stream.bad())
    text = Phrase.counted(
        bad,
        "%(number)s record that could not be stored is kept in %(key)s",
        "%(number)s records that could not be stored are kept in %(key)s",
        key=f"{stream.name}:{BAD}",
    )
    if others:
        text = Phrase(
            "%(text)s, %(foreign)s of them of an app with another key or database: %(cure)s",
            text=text,
            foreign=others,
            cure=CURE,
        )
    if refused:
        more = Phrase.counted(
            refused,
            "%(number)s opt-out in %(key)s: run recover --quarantine on each machine",
            "%(number)s opt-outs in %(key)s: run recover --quarantine on each machine",
            key=f"{stream.name}:{REFUSED}",
        )
        text = Phrase("%(text)s, %(more)s", text=text, more=more)
    return Finding("C25", "error" if refused or others else "warning", text)


def service_findings(settings: Settings, calls: ServiceCalls, unread: Path) -> Iterator[Finding]:
    """Yield a finding about each service that may call.

    :param unread: the file with the calls that could not be read.
    """
    counts = calls.read()
    for name in settings.services:
        count, url = counts.get(name, CallCount()), f"{settings.base_url}{settings.url_prefix}/{SERVICE_PATH}/{name}/…"
        if name != settings.downstream:
            text = Phrase("%(service)s cannot name our mail: name it in MAILTRACK_DOWNSTREAM", service=name)
        elif count.unread:
            text = Phrase("calls of %(service)s could not be read: they are in %(path)s", service=name, path=unread)
        elif not count.calls:
            text = Phrase("%(service)s has not called yet: give it the address %(url)s", service=name, url=url)
        else:
            numbers = {each: str(getattr(count, each)) for each in ("calls", "events", "unmatched", "refused")}
            text = Phrase(
                "%(service)s: %(calls)s calls, events of our mail: %(events)s, of other mail: %(unmatched)s; "
                "%(refused)s calls refused",
                service=name,
                **numbers,
            )
            yield Finding("C34", "ok", text)
            continue
        yield Finding("C34", "warning", text)


def webhook_finding(outbox: WebhookOutbox) -> Finding:
    """Return the finding about the webhooks that wait or are put aside."""
    found = outbox.backlogs()
    if dead := sum(each.number for each in found if each.state == DeliveryState.DEAD):
        text = Phrase.counted(
            dead,
            "%(number)s webhook was put aside after three days: run flask mailtrack webhooks list",
            "%(number)s webhooks were put aside after three days: run flask mailtrack webhooks list",
        )
        return Finding("C33", "warning", text)
    waiting = sum(each.number for each in found)
    return Finding("C33", "ok", Phrase.counted(waiting, "%(number)s webhook waits", "%(number)s webhooks wait"))
