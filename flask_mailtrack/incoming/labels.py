"""What a hit says of the program behind it: its verdict and name, worked out once for each kind of visitor.

A few hundred browsers make nearly all requests, and of the time since the mail only the thresholds
count. So nearly every hit has the label of an earlier one. No address is remembered.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flask_mailtrack.agents import LONGEST, identify
from flask_mailtrack.config import Settings
from flask_mailtrack.events import EventType, Verdict
from flask_mailtrack.modes import Mode
from flask_mailtrack.networks.ranges import OWN, Network
from flask_mailtrack.privacy import MAX_USER_AGENT, clean

from .verdict import Evidence, Judgement, judge

REMEMBERED = 1_024


@dataclass(frozen=True, slots=True)
class Label:
    """What many hits have in common."""

    fields: Mapping[str, Any]
    """Of a :class:`.Hit`, as they stand in the spool: what is at its default is left out."""
    proxied: bool
    """An image proxy asked, whose address says nothing of the reader."""


class Labels:
    """Makes and remembers labels, for the settings of one app."""

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        self._steps = sorted({0.0, limits.instant, limits.open_window, limits.click_window, limits.probable})
        self._label = _labeller(settings)

    def of(
        self,
        mode: Mode,
        kind: EventType,
        user_agent: str,
        headers: Mapping[str, str],
        network: Network,
        age: float | None,
    ) -> Label:
        """Return the label of a hit; never fails, whatever a client sends.

        :param mode: how much may be kept.
        :param headers: those that :func:`.judge` reads; of each, as of the User-Agent, its first
            :data:`.LONGEST` characters are.
        :param age: seconds since the mail was sent; ``None`` where that is unknown.
        """
        # No rule can tell an age from the threshold below it.
        step = self._steps[bisect_right(self._steps, age) - 1] if age is not None and age >= 0 else -1.0
        # What is remembered must not grow with what a client sends.
        read = tuple([(name, value[:LONGEST]) for name, value in headers.items()])
        return self._label(mode, kind, user_agent[:LONGEST], read, network, step)


def _labeller(settings: Settings) -> Callable[..., Label]:
    @lru_cache(REMEMBERED)
    def label(
        mode: Mode,
        kind: EventType,
        user_agent: str,
        headers: tuple[tuple[str, str], ...],
        network: Network,
        age: float,
    ) -> Label:
        evidence = Evidence(kind, user_agent, dict(headers), age, network=network)
        judged = judge(evidence, settings.limits, strict=settings.verdicts)
        if kind == EventType.TRAPPED and network.kind != OWN:
            judged = Judgement(Verdict.SCANNER, ("honeypot",), judged.provider)
        fields = _fields(mode, judged, user_agent, settings.user_agent)
        return Label({name: value for name, value in fields.items() if value}, judged.verdict == Verdict.PROXY)

    return label


def _fields(mode: Mode, judged: Judgement, user_agent: str, kept: str) -> dict[str, Any]:
    least = {
        "verdict": "" if judged.verdict == Verdict.UNKNOWN else judged.verdict.value,
        "provider": judged.provider,
    }
    if mode == Mode.DELIVERABILITY:
        return least
    said = {**least, "reasons": judged.reasons}
    if mode == Mode.INDIVIDUAL:
        said["user_agent"] = agent_kept(user_agent, kept)
        if kept == "full":  # which the drain reads; one that must not touch the disk is read now
            return said
    client = identify(user_agent)
    return {**said, "client": client.name, "os": client.os, "device": client.device}


def agent_kept(user_agent: str, mode: str) -> str:
    """Return what may be stored of a User-Agent.

    :param mode: ``full``, ``family`` (the name of the program), or ``none``.
    """
    if mode == "full":
        return clean(user_agent, MAX_USER_AGENT)
    return identify(user_agent).name if mode == "family" else ""
