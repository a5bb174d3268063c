"""What happened to a message, folded for reading: the many clicks of one visit of a machine are one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from flask_mailtrack.events import EventType
from flask_mailtrack.reporting.timeline import TimelineEvent

_VISIT = timedelta(minutes=1)
"""A machine that follows all links does so within this time."""


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """One line: one thing that happened, or the same thing many times."""

    events: tuple[TimelineEvent, ...]

    @property
    def first(self) -> TimelineEvent:
        """The event that gives the line its time."""
        return self.events[0]

    @property
    def urls(self) -> list[str]:
        """What was followed, each once, in order."""
        return list(dict.fromkeys(event.url for event in self.events if event.url))


def visits(events: Sequence[TimelineEvent]) -> Iterator[TimelineLine]:
    """Yield the lines of a timeline, in order."""
    found: list[TimelineEvent] = []
    for event in events:
        if found and not _goes_on(found[0], event):
            yield TimelineLine(tuple(found))
            found = []
        found.append(event)
    if found:
        yield TimelineLine(tuple(found))


def _goes_on(first: TimelineEvent, event: TimelineEvent) -> bool:
    """Say whether an event is of the same visit: of the same machine, for the same reason, soon after."""
    same = ("type", "by", "verdict", "reasons", "corrected", "ip", "user_agent")
    return (
        event.by == "machine"
        and event.type == EventType.CLICKED
        and all(getattr(first, name) == getattr(event, name) for name in same)
        and event.at - first.at <= _VISIT
    )
