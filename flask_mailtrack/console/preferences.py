"""What somebody gets, as switches; and what was changed about it, when and by whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from werkzeug.datastructures import MultiDict

from flask_mailtrack.events import REASONS, EventType, OptOutKind
from flask_mailtrack.lists import folded
from flask_mailtrack.notified import BOUNCE, COMPLAINT
from flask_mailtrack.reporting.messages import Person

from .desk import Desk

"""The reason of an opt-out that nobody takes back: they reported us as spam."""
MEASURING = "measuring"
_MOST = 50
_CHANGES = {
    EventType.UNSUBSCRIBED: ("Left %(list)s", "Left all mail"),
    EventType.SUBSCRIBED: ("Joined %(list)s again", "Allowed mail again"),
    EventType.DECLINED: ("Declined measuring", "Declined measuring"),
    EventType.ACCEPTED: ("Allowed measuring again", "Allowed measuring again"),
    "erased": ("Erased", "Erased"),
}
WHY = {
    **REASONS,
    COMPLAINT: "They reported us as spam",
    BOUNCE: "Mail to them bounced",
    "by_hand": "By hand",
    "import": "Import",
}
"""The words of reasons, as a reader reads them; any other stands as it is."""
WAYS = {
    "one_click": "Mail program’s button",
    "post": "Mail program’s button",
    "page": "Unsubscribe page",
    "preferences": "Preferences page",
    "api": "The app",
    "cli": "Command line",
    "import": "Import",
    "console": "Console",
    "webhook": "Mail service",
    COMPLAINT: "Complaint",
    BOUNCE: "Bounce",
}
"""The ways of a change, in words."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One switch.

    :param on: whether they get the list, or are measured.
    :param since: when they refused.
    :param reason: the word of why they refused.
    """

    kind: OptOutKind
    list_id: str
    title: str
    description: str
    on: bool
    since: datetime | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """What the form calls the switch: no list is called so, as stored names have no capital letters."""
        return "M" if self.kind == OptOutKind.TRACKING else f"L{self.list_id}"

    @property
    def locked(self) -> bool:
        """Whether nobody can switch it on."""
        return self.reason == COMPLAINT and not self.on


@dataclass(frozen=True, slots=True)
class ConsentLine:
    """One change of what somebody gets."""

    at: datetime
    text: str
    list_id: str
    way: str
    source: str
    wording: str
    actor: str


def choices_of(desk: Desk, person: Person) -> list[Choice]:
    """Return the switches of a person: the lists of the app and those of their mail; measuring, if all is one's own.

    Whether somebody is measured is about all mail, so no tenant decides about that.
    """
    known = {folded(name): about for name, about in desk.state.settings.lists.items()}
    refused = {(each.list_id, each.kind): each for each in person.standing}
    seen = {row.list_id for row in person.page.rows} | {each.list_id for each in person.standing}
    names = seen if desk.scope is not None else seen | known.keys()
    found = []
    for name in sorted(names - {""}):
        about, stands = known.get(name), refused.get((name, OptOutKind.UNSUBSCRIBE))
        title, description = (about.get("title", name), about.get("description", "")) if about else (name, "")
        said = (stands.since, stands.reason) if stands else (None, "")
        found.append(Choice(OptOutKind.UNSUBSCRIBE, name, title or name, description, stands is None, *said))
    if desk.scope is None:
        stands = refused.get(("", OptOutKind.TRACKING))
        told = desk.t("Record when they open or click. Off also silences mail that is out already.")
        since = stands.since if stands else None
        found.append(Choice(OptOutKind.TRACKING, "", desk.t("Measuring"), told, stands is None, since))
    return found


def changed(choices: Iterable[Choice], form: MultiDict[str, str]) -> Iterator[tuple[Choice, bool]]:
    """Yield each switch that somebody has turned, with its new position.

    What was changed elsewhere since the form was shown stays: a switch that nobody has touched changes nothing.
    """
    was, now = form.getlist("was"), set(form.getlist("on"))
    shown = {name[1:]: name[:1] == "1" for name in was}
    for choice in choices:
        wish = choice.name in now
        if choice.name in shown and wish != shown[choice.name] and wish != choice.on and not choice.locked:
            yield choice, wish


def log_of(desk: Desk, address: str) -> list[ConsentLine]:
    """Return what was changed about what somebody gets, newest first."""
    return [_line(row) for row in reversed(desk.state.people.audit(address, within=desk.scope)[-_MOST:])]


def _line(row: dict[str, str]) -> ConsentLine:
    of_list, of_all = _CHANGES.get(row["change"], (row["change"], row["change"]))
    return ConsentLine(
        at=datetime.fromisoformat(row["occurred_at"]),
        text=of_list if row["list_id"] else of_all,
        list_id=row["list_id"],
        way=WAYS.get(row["method"], row["method"]),
        source=row["source"],
        wording=row["wording"],
        actor=row.get("actor") or "",
    )
