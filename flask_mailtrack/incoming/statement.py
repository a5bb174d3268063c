"""What a person is told about what is kept of them, from the settings in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flask_mailtrack.config import Settings
from flask_mailtrack.events import Standing
from flask_mailtrack.modes import Mode

_IP = {
    "truncate": "Only the first part, which many people share.",
    "full": "In full.",
    "hash": "Only as a code that changes every day.",
    "none": "Not kept.",
}
_USER_AGENT = {
    "full": "What your program says about itself.",
    "family": "Only its name.",
    "none": "Not kept.",
}

_BY_WHAT_THEY_TELL = (Mode.INDIVIDUAL, Mode.DELIVERABILITY, Mode.AGGREGATE)


@dataclass(frozen=True, slots=True)
class Statement:
    """The parts of a statement that depend on settings and person; the texts are for the catalogues."""

    opens: bool
    """Whether opens of this person's mails are recorded."""
    clicks: bool
    mode: str
    """What is kept of both: that of the configuration which tells most, whatever domain it is for."""
    ip: str
    user_agent: str
    days: Mapping[str, float]
    """How long ``events`` and ``messages`` are kept; what is missing has no fixed period."""


def statement(settings: Settings, standing: Standing) -> Statement:
    """Return what is kept of a person."""
    modes = {settings.mode, *(domain.get("mode", settings.mode) for domain in settings.sender_domains.values())}
    return Statement(
        opens=settings.opens and standing.measured,
        clicks=settings.clicks and standing.measured,
        mode=next(mode for mode in _BY_WHAT_THEY_TELL if mode in modes),
        ip=_IP[settings.ip],
        user_agent=_USER_AGENT[settings.user_agent],
        days=getattr(settings, "keep_days", {}),
    )
