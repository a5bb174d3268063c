"""What holds for a switch, and why, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask_mailtrack.config import Settings

from .switches import PAUSE, Decision, Scope, Switch


@dataclass(frozen=True, slots=True)
class SwitchStatus:
    """What holds for one switch of one scope, and why.

    :param key: ``opens``, ``clicks`` or ``unsubscribe``.
    :param enabled: whether mail that says nothing of its own has it.
    :param text: the same in words: ``Enabled`` or ``Not enabled``, and why.
    """

    key: str
    enabled: bool
    text: str

    @classmethod
    def because(cls, key: str, enabled: bool, why: str) -> SwitchStatus:
        """Return a status with its reason."""
        return cls(key, enabled, f"{'Enabled' if enabled else 'Not enabled'}: {why}")


def status_of(settings: Settings, key: str, decision: Decision, domain: str) -> SwitchStatus:
    """Return what holds for mail of a sender domain that says nothing of its own.

    :param settings: the configuration, which holds where the operator has decided nothing.
    :param domain: empty for the account.
    """
    if decision.switch is not None:
        return SwitchStatus.because(key, bool(decision.value), _reason(decision.switch))
    if decision.value is False:
        text = "nothing is set, and the dimension 'domain' tracks only what has a setting of its own"
        return SwitchStatus.because(key, False, text)
    options: dict[str, Any] = settings.sender_domains.get(domain, {})
    if key in options:
        where, enabled = f"MAILTRACK_SENDER_DOMAINS[{domain!r}]", bool(options[key])
    else:
        where, enabled = f"MAILTRACK_{key.upper()}", bool(getattr(settings, key))
    return SwitchStatus.because(key, enabled, f"by the configuration ({where})")


def _reason(switch: Switch) -> str:
    what = "paused" if switch.key == PAUSE else switch.value
    about = {Scope.ACCOUNT: "for the account", Scope.DOMAIN: f"for {switch.subject}"}.get(
        switch.scope, "for the sender"
    )
    return f"{what} {about} since {switch.at:%Y-%m-%d %H:%M} by {switch.by or 'nobody named'}"
