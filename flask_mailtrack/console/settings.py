"""Settings: the switches of the account, of sender domains and of senders, who decides, the tags, and the log."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from flask_mailtrack.administration.host_names import host_name, is_host_name
from flask_mailtrack.administration.operator_settings import Tag
from flask_mailtrack.errors import SettingError
from flask_mailtrack.events import SettingChange
from flask_mailtrack.privacy import mask, normalise

from .desk import Desk
from .forms import FIELD
from .route import Route
from .tenancy import Tenancy

SWITCHES = ("opens", "clicks", "unsubscribe")
DIMENSIONS = ("account", "both", "domain")
_ON, _OFF, _ABOVE = "on", "off", "-"
_ROWS = 25
"""Exceptions of one page."""
_CHANGES = 50
"""Changes that are shown. The file has more of them."""
_IN_FILE = 10_000
_NOT_KEPT = (FIELD, "csrf_token", "_csrf_token", "sure")
_COLUMNS = ("at", "by", "scope", "subject", "key", "before", "value")


@dataclass(frozen=True, slots=True)
class SwitchLine:
    """One switch of one sender.

    :param own: ``on``, ``off``, or ``-`` if the wider setting holds.
    :param now: whether the switch is on in the end.
    :param meant: the same while nothing wider decides otherwise, such as a pause.
    """

    key: str
    own: str
    now: bool
    meant: bool = False


@dataclass(frozen=True, slots=True)
class Sender:
    """The switches of a sender domain, or of one sender.

    :param host: the tracking domain, if the sender domain has one.
    :param open: whether the viewer may change them.
    """

    subject: str
    switches: tuple[SwitchLine, ...]
    sent: int | None
    host: str
    open: bool

    @property
    def seen(self) -> str:
        """What the form was made with, so that only what somebody changes is changed."""
        return ",".join(each.own for each in self.switches)


def settings(desk: Desk) -> ResponseReturnValue:
    """Show all settings."""
    if desk.wants_csv:
        tenancy = desk.tenancy(_sent(desk))
        told = desk.state.administration.settings.history(limit=_IN_FILE)
        return desk.csv("settings", _COLUMNS, [_row(desk, each) for each in told if _is_shown(each, tenancy)])
    return _shown(desk)


def save(desk: Desk) -> ResponseReturnValue:
    """Change the switches of the account, and who decides."""
    _whole(desk)
    form, found = request.form, desk.state.administration.settings
    before: dict[str, str] = dict(zip(SWITCHES, form.get("seen", "").split(","), strict=False))
    wanted = {key: _ON if form.get(key) == _ON else _OFF for key in SWITCHES}
    changed = {key: value for key, value in wanted.items() if value != before.get(key)}
    if changed.get("unsubscribe") == _OFF and (question := _asks_again(desk, "settings_save", "unsubscribe")):
        return question
    dimension = form.get("dimension", "")
    if dimension != form.get("seen_dimension") and dimension in DIMENSIONS:
        found.choose_dimension(dimension, by=desk.author)
    for key, value in changed.items():
        found.set(key, value == _ON, by=desk.author)
    return desk.back("settings", "settings_saved")


def reset(desk: Desk) -> ResponseReturnValue:
    """Have the app's configuration decide for the account again."""
    _whole(desk)
    for key in SWITCHES:
        desk.state.administration.settings.unset(key, by=desk.author)
    return desk.back("settings", "settings_reset")


def exceptions(desk: Desk) -> ResponseReturnValue:
    """Change the switches of sender domains and senders."""
    tenancy = desk.tenancy()
    try:
        changes = list(_changes(desk, tenancy))
    except ValueError:  # a name that the page has never had
        desk.missing("There is no such sender.")
    off = any(key == "unsubscribe" and value == _OFF for _, key, value in changes)
    if off and (question := _asks_again(desk, "settings_exceptions", "unsubscribe")):
        return question
    for subject, key, value in changes:
        _set(desk, subject, key, value)
    return desk.back("settings", "settings_saved")


def exception_add(desk: Desk) -> ResponseReturnValue:
    """Make an exception for a sender domain or a sender that is not in the table yet."""
    tenancy, form = desk.tenancy(), request.form
    key, value = form.get("key", ""), form.get("value", "")
    try:
        subject = _subject(form.get("subject", ""))
        if tenancy.reaches_others(subject):
            raise SettingError(desk.t("This would change mail of sub-domains that are not yours. Choose a sender."))
        if not tenancy.owns(subject):
            raise SettingError(desk.t("This sender is not one of yours."))
        if key not in SWITCHES or value not in (_ON, _OFF):
            raise SettingError(desk.t("Choose a switch, and On or Off."))
    except ValueError as error:
        return _shown(desk, wrong={"subject": desk.cause(error)})
    if (key, value) == ("unsubscribe", _OFF) and (
        question := _asks_again(desk, "settings_exception_add", "unsubscribe")
    ):
        return question
    _set(desk, subject, key, value)
    return desk.back("settings", "settings_saved")


def pause(desk: Desk) -> ResponseReturnValue:
    """Pause all measuring, after a second look."""
    _whole(desk)
    if question := _asks_again(desk, "settings_pause", "pause"):
        return question
    desk.state.administration.settings.set("pause", True, by=desk.author)
    return desk.back("settings", "settings_paused")


def resume(desk: Desk) -> ResponseReturnValue:
    """Go on measuring."""
    _whole(desk)
    desk.state.administration.settings.set("pause", False, by=desk.author)
    return desk.back("settings", "settings_resumed")


def tag_add(desk: Desk) -> ResponseReturnValue:
    """Declare a tag, or end its retirement."""
    return _with_tag(desk, lambda name: desk.state.administration.tags.add(name, by=desk.author), "tag_added")


def tag_retire(desk: Desk) -> ResponseReturnValue:
    """Refuse a tag from now on."""
    retire = desk.state.administration.tags.retire
    return _with_tag(desk, lambda name: retire(name, by=desk.author), "tag_retired")


def _with_tag(desk: Desk, act: Callable[[str], None], done: str) -> ResponseReturnValue:
    _whole(desk)
    try:
        act(request.form.get("tag", "").strip())
    except SettingError as error:
        return _shown(desk, wrong={"tag": desk.cause(error)})
    return desk.back("settings", done)


def _sent(desk: Desk) -> dict[str, int]:
    return {line.name or "": line.totals.out for line in desk.reports.sender_domains().lines}


def _shown(desk: Desk, wrong: dict[str, str] | None = None) -> ResponseReturnValue:
    sent = _sent(desk)
    tenancy = desk.tenancy(sent)
    administered = desk.state.administration
    found = administered.settings
    account = [_line(found, each.key, each.enabled) for each in found.status()]
    configured = desk.state.settings
    account = [
        dataclasses.replace(each, meant=bool(getattr(configured, each.key)) if each.own == _ABOVE else each.own == _ON)
        for each in account
    ]
    told = found.history(limit=_IN_FILE)
    changes = [each for each in told if _is_shown(each, tenancy)][: _CHANGES + 1]
    first = _number(request.args.get("page", "")) if not wrong else 0
    rows = list(_exceptions(desk, tenancy, sent))
    tags: list[Tag] = administered.tags.list() if tenancy.everything else []
    return desk.page(
        "settings.html",
        status=422 if wrong else 200,
        tenancy=tenancy,
        account=account,
        dimension=found.dimension,
        exceptions=rows[first : first + _ROWS],
        page="1" if first else "",
        next=str(first + _ROWS) if len(rows) > first + _ROWS else "",
        tags=tags,
        changes=[(each, _told(desk, each)) for each in changes[:_CHANGES]],
        more=len(changes) > _CHANGES,
        wrong=wrong or {},
        given=request.form,
        on=_ON,
        off=_OFF,
        above=_ABOVE,
    )


def _exceptions(desk: Desk, tenancy: Tenancy, sent: dict[str, int]) -> Iterator[Sender]:
    """Yield those with a setting of their own, then the sender domains that sent most."""
    found = desk.state.administration.settings
    hosts, _ = desk.state.administration.in_use.verified()
    own = {name: statuses for name, statuses in found.overview().items() if name != "account"}
    others = sorted({*sent, *desk.state.settings.sender_domains} - own.keys(), key=lambda name: -sent.get(name, 0))
    for subject in (*own, *filter(is_host_name, others)):
        if not tenancy.sees(subject):
            continue
        about: dict[str, Any] = {"sender" if "@" in subject else "domain": subject}
        statuses = own.get(subject) or found.status(**about)
        lines = tuple(_line(found, each.key, each.enabled, **about) for each in statuses)
        # A form that changes a sender names its address, which not everybody may see.
        may = desk.may("manage") and tenancy.owns(subject) and ("@" not in subject or desk.may("addresses"))
        yield Sender(subject, lines, sent.get(subject), hosts.get(subject, ""), may)


def _line(found: Any, key: str, enabled: bool, **about: str) -> SwitchLine:
    own = found.get(key, **about)
    return SwitchLine(key, _ABOVE if own is None else _ON if own else _OFF, enabled)


def _changes(desk: Desk, tenancy: Tenancy) -> Iterator[tuple[str, str, str]]:
    """Yield what the form changes: sender, switch, value. What its author has not touched stays as it is now."""
    for written, seen in zip(request.form.getlist("subject"), request.form.getlist("seen"), strict=False):
        subject = _subject(written)
        if not tenancy.owns(subject) or ("@" in subject and not desk.may("addresses")):
            desk.missing("There is no such sender.")
        for key, before in zip(SWITCHES, seen.split(","), strict=False):
            value = request.form.get(f"{key}:{written}", before)
            if value != before and value in (_ON, _OFF, _ABOVE):
                yield subject, key, value


def _set(desk: Desk, subject: str, key: str, value: str) -> None:
    found = desk.state.administration.settings
    about: dict[str, Any] = {"sender" if "@" in subject else "domain": subject, "by": desk.author}
    if value == _ABOVE:
        found.unset(key, **about)
    else:
        found.set(key, value == _ON, **about)


def _asks_again(desk: Desk, page: str, about: str) -> ResponseReturnValue | None:
    """Return the question whether somebody is sure; ``None`` once they are. The form is kept in the question."""
    if request.form.get("sure") == about:
        return None
    kept = [(name, value) for name, value in request.form.items(multi=True) if name not in _NOT_KEPT]
    return desk.page("sure.html", page=page, about=about, kept=kept)


def _subject(written: str) -> str:
    """Return a sender or a sender domain in the spelling of settings, so that no spelling gets round a scope."""
    name = written.strip()
    if "@" in name.strip("@"):
        return normalise(name)
    return host_name(name.removeprefix("@"))


def _whole(desk: Desk) -> None:
    """Answer 404 to a tenant: what is of the account is everybody's."""
    if desk.scope is not None:
        desk.missing("There is no such setting.")


def _is_shown(change: SettingChange, tenancy: Tenancy) -> bool:
    return tenancy.everything or (change.scope in ("domain", "sender") and tenancy.sees(change.subject))


def _told(desk: Desk, change: SettingChange) -> tuple[str, str]:
    """Return what a change was about, and who made it, as the viewer may see them."""
    hidden = "@" in change.subject and change.scope == "sender" and not desk.may("addresses")
    subject = mask(change.subject) if hidden else change.subject
    return subject, desk.named(change.changed_by)


def _row(desk: Desk, change: SettingChange) -> tuple[Any, ...]:
    subject, by = _told(desk, change)
    return change.changed_at, by, change.scope, subject, change.key, change.before, change.value


def _number(written: str) -> int:
    return min(int(written), 100_000) if written.isascii() and written.isdigit() and len(written) < 7 else 0


ROUTES = (
    Route("/settings", "settings", "view", settings),
    Route("/settings", "settings_save", "manage", save, ("POST",)),
    Route("/settings/reset", "settings_reset", "manage", reset, ("POST",)),
    Route("/settings/exceptions", "settings_exceptions", "manage", exceptions, ("POST",)),
    Route("/settings/exceptions/add", "settings_exception_add", "manage", exception_add, ("POST",)),
    Route("/settings/pause", "settings_pause", "manage", pause, ("POST",)),
    Route("/settings/resume", "settings_resume", "manage", resume, ("POST",)),
    Route("/settings/tags", "settings_tag_add", "manage", tag_add, ("POST",)),
    Route("/settings/tags/retire", "settings_tag_retire", "manage", tag_retire, ("POST",)),
)
