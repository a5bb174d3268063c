"""What a question is about: which messages, which period, by which of two times, and whose opens and clicks."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any, TypedDict

from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import Status
from flask_mailtrack.lists import folded
from flask_mailtrack.privacy import clean
from flask_mailtrack.scope import Scope
from flask_mailtrack.time_zones import zone_of

AUDIENCES = ("people", "machines", "all")
BASES = ("sent", "happened")
Moment = datetime | date | str


class Filters(TypedDict, total=False):
    """What narrows a question; see :class:`Selection`."""

    tag: str | None
    list_id: str | None
    sender_domain: str | None
    subject: str | None
    status: str | None
    since: Moment | None
    until: Moment | None
    basis: str
    audience: str
    tz: str
    within: Scope | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which messages and events a question is about; what is ``None`` narrows nothing.

    :param tag: of the messages, as written.
    :param list_id: of the messages, in any spelling.
    :param sender_domain: what stands behind the last ``@`` of the sender.
    :param subject: the whole subject.
    :param status: ``sending``, ``sent``, ``failed``, ``unknown`` or ``suppressed``.
    :param since: from this moment on; a naive one is UTC, a date is its first moment in *tz*; ISO text is read.
    :param until: before this moment.
    :param basis: what the period is about. ``sent``: mail that was made in it, and what became of that mail, whenever
        that was. ``happened``: opens, clicks and unsubscribes that came in it, of whatever mail.
    :param audience: whose opens and clicks are counted: ``people``, ``machines`` or ``all``. An unsubscribe is
        always somebody's.
    :param tz: name of the time zone in which dates are read, and days, weeks and months begin.
    :param within: the only mail that there is for whoever asks; a selection that an answer gave keeps it.
    :raises ReportError: a value that cannot be meant; also a ValueError.
    """

    tag: str | None = None
    list_id: str | None = None
    sender_domain: str | None = None
    subject: str | None = None
    status: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    basis: str = "sent"
    audience: str = "people"
    tz: str = "UTC"
    within: Scope | None = None

    def __post_init__(self) -> None:
        for name in ("tag", "list_id", "sender_domain", "subject", "status"):
            if getattr(self, name) is not None:
                text_of(name, getattr(self, name))
        text_of("tz", self.tz)
        if self.within is not None and not isinstance(self.within, Scope):
            raise ReportError(f"within is {self.within!r}. Write a Scope, or None for any mail.")
        _one_of("basis", self.basis, BASES)
        _one_of("audience", self.audience, AUDIENCES)
        if self.status is not None:
            _one_of("status", self.status, [status.value for status in Status if status != Status.COUNTER])
        object.__setattr__(self, "list_id", None if self.list_id is None else folded(self.list_id))
        domain = None if self.sender_domain is None else self.sender_domain.lower()
        object.__setattr__(self, "sender_domain", domain)
        for name in ("since", "until"):
            object.__setattr__(self, name, moment_of(name, getattr(self, name), self.zone))
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ReportError(f"until is {self.end.isoformat()}, which is before since. Swap the two.")

    @property
    def zone(self) -> tzinfo:
        """The time zone."""
        try:
            return zone_of(self.tz)
        except ValueError:
            raise ReportError(f"tz is {self.tz!r}. Write a name such as 'Europe/Berlin'.") from None

    @property
    def start(self) -> datetime | None:
        """``since``, in UTC."""
        return self.since if isinstance(self.since, datetime) else None

    @property
    def end(self) -> datetime | None:
        """``until``, in UTC."""
        return self.until if isinstance(self.until, datetime) else None

    @property
    def happened(self) -> bool:
        """Whether the period is about what happened in it."""
        return self.basis == "happened"

    def narrowed(self, **filters: Any) -> Selection:
        """Return the same selection, but for some fields."""
        return replace(self, **filters)

    def filters(self) -> dict[str, Any]:
        """Return what is said, without what is left at its default, and without what nobody may choose."""
        said = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        said.pop("within", None)
        return said


def moment_of(name: str, value: Any, zone: tzinfo) -> datetime | None:
    """Return a moment in UTC, however it was written.

    :raises ReportError: it is none.
    """
    given = value
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) <= 10 else datetime.fromisoformat(value)
        except ValueError:
            value = given
    if isinstance(value, datetime):
        return _in_utc(name, value)
    if isinstance(value, date):
        return _in_utc(name, datetime.combine(value, time(), zone))
    if value is None:
        return None
    cure = "Write a datetime, a date, or ISO 8601 such as '2026-05-01' or '2026-05-01T09:00+02:00'."
    raise ReportError(f"{name} is {given!r}. {cure}")


def _in_utc(name: str, moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ReportError(f"{name} is {moment!r}, which is out of range. Leave {name} out.") from None


def text_of(name: str, value: Any) -> str:
    """Return a text that any database can look for.

    :raises ReportError: it is none.
    """
    if not isinstance(value, str):
        raise ReportError(f"{name} is {value!r}. Write a string, or None for any.")
    if clean(value, len(value)) != value:
        raise ReportError(f"{name} is {value!r}. Write it without NUL and without halves of characters.")
    return value


def _one_of(name: str, value: Any, words: Any) -> None:
    if value not in tuple(words):
        raise ReportError(f"{name} is {value!r}. Write one of: {', '.join(words)}.")
