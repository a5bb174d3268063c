"""Numbers, times and addresses, as console and mailbox write them."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, tzinfo
from html import unescape
from typing import Any

from markupsafe import Markup, escape

from flask_mailtrack.languages import Words, words
from flask_mailtrack.privacy import mask

_IN_ADDRESS = r"""[^\s"'<>()\[\],;:|=&?/\\@%]"""
_ADDRESS = re.compile(rf"({_IN_ADDRESS}{{1,320}})(@|%40|%2540)({_IN_ADDRESS}{{1,320}})", re.IGNORECASE)
_AT_SIGN = re.compile(r"&(?:commat|#0{0,9}64|#x0{0,9}40);?", re.IGNORECASE)
_STYLE = re.compile(r"<style\b.*?(?:</style|\Z)", re.IGNORECASE | re.DOTALL)
_AT_RULE = re.compile(r"([{}])@")
_INLINE = re.compile(
    r"</?(?:a|abbr|acronym|b|bdi|bdo|big|cite|code|em|font|i|kbd|label|mark|nobr|s|small|span|strong|sub|sup|tt|u|var|wbr)"
    r"(?:\s[^>]*)?>",
    re.IGNORECASE,
)
"""Tags between which a reader sees no gap."""
ENGLISH = words("en")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNITS = ((3_600, "%(number)s h"), (60, "%(number)s min"), (1, "%(number)s s"))
"""Seconds of a unit, and how a time is told in the unit."""
_DAY = 86_400


def number(value: float | None, t: Words = ENGLISH) -> str:
    """Return a count: ``14,269``; a dash for nothing."""
    return "–" if value is None else t.figures(f"{value:,.0f}")


def percent(rate: float | None, t: Words = ENGLISH) -> str:
    """Return a rate: ``43.0%``; two places below one percent, as ``0.84%``; a dash for nothing."""
    if rate is None:
        return "–"
    return t.figures(f"{rate:.2%}" if 0 < rate < 0.01 else f"{rate:.1%}")


def points(change: float, t: Words = ENGLISH) -> str:
    """Return how far two rates are apart: ``2.2 points``."""
    size = abs(change) * 100
    return t("%(number)s points", number=t.figures(f"{size:.2f}" if 0 < size < 1 else f"{size:.1f}"))


def seconds(passed: timedelta, t: Words = ENGLISH) -> str:
    """Return a time that has passed: ``2 s``, ``14 min``, ``3 h``, ``5 days``."""
    size = max(0, round(passed.total_seconds()))
    if size >= 2 * _DAY:
        return t.counted(size // _DAY, "%(number)s day", "%(number)s days")
    unit, text = next((each for each in _UNITS if size >= each[0]), _UNITS[-1])
    return t(text, number=size // unit)


def short_day(when: date, t: Words = ENGLISH) -> str:
    """Return a day of a year that is known: ``24 Nov``."""
    return t("%(day)s %(month)s", day=when.day, month=short_month(when, t))


def short_month(when: date, t: Words = ENGLISH) -> str:
    """Return a month: ``Nov``. The system's own names are not asked for: they follow the language of the system."""
    return t(MONTHS[when.month - 1])


class Clock:
    """Writes times in one time zone.

    :param zone: of the host.
    :param now: the present moment. Another year than this one is written out.
    :param speech: the language.
    """

    def __init__(self, zone: tzinfo, now: datetime, speech: Words = ENGLISH) -> None:
        self._zone = zone
        self._now = now
        self._t = speech
        self._year = now.astimezone(zone).year

    def day(self, when: datetime | date | None) -> str:
        """Return a day: ``24 Nov``, and the year if it is another one."""
        if when is None:
            return "–"
        local = when.astimezone(self._zone) if isinstance(when, datetime) else when
        if local.year == self._year:
            return short_day(local, self._t)
        month = short_month(local, self._t)
        return self._t("%(day)s %(month)s %(year)s", day=local.day, month=month, year=local.year)

    def moment(self, when: datetime | None, *, exact: bool = False, day: bool = True) -> Markup:
        """Return a time as HTML: ``24 Nov, 09:00``, with the exact time and how long ago to be pointed at.

        :param exact: with the seconds.
        :param day: with the day; without it, the day must stand elsewhere.
        """
        if when is None:
            return Markup("–")
        local = when.astimezone(self._zone)
        clock = f"{local:%H:%M:%S}" if exact else f"{local:%H:%M}"
        iso = local.isoformat(timespec="seconds")
        told = f"{iso.replace('T', ' ')}, {self.ago(when)}"
        shown = f"{self.day(when)}, {clock}" if day else clock
        return Markup('<time datetime="{}" title="{}">{}</time>').format(iso, told, shown)

    def second(self, when: datetime) -> str:
        """Return a time as text: ``24 Nov, 09:00:07``."""
        return f"{self.day(when)}, {when.astimezone(self._zone):%H:%M:%S}"

    def written(self, value: Any) -> str:
        """Return a value of a phrase: a day or a duration in the language, and any other text as it is."""
        if isinstance(value, timedelta):
            return seconds(value, self._t)
        return self.day(value) if isinstance(value, date) else str(value)

    def ago(self, when: datetime) -> str:
        """Return how far a moment is away: ``2 s ago``, ``in 6 days``."""
        passed = self._now - when
        if passed < timedelta():
            return self._t("in %(time)s", time=seconds(-passed, self._t))
        return self._t("%(time)s ago", time=seconds(passed, self._t))


def breakable(text: str) -> Markup:
    """Return an address or a URL as HTML that may break where a reader expects it."""
    return escape(text.removeprefix("https://")).replace("@", Markup("<wbr>@")).replace("/", Markup("/<wbr>"))


def without_addresses(text: str) -> str:
    """Return a text, such as a subject, an answer of a server or a URL, with each address in it masked."""
    if "@" not in text and "%40" not in text and "%2540" not in text:
        return text
    return _ADDRESS.sub(lambda found: mask(f"{found[1]}@{found[3]}"), text)


def drawn_without_addresses(html: str) -> str | None:
    """Return a drawn mail with each address in it masked; ``None``: its reader would still read a whole one.

    Such a one is written with character references, or over several elements.
    """
    plain = _AT_SIGN.sub("@", html)
    plain = _STYLE.sub(lambda found: _AT_RULE.sub(r"\1 @", found[0]), plain)  # else a rule would look like an address
    masked = without_addresses(plain)
    for read in (unescape(masked), unescape(_INLINE.sub("", masked))):
        if without_addresses(read) != read:
            return None
    return masked
