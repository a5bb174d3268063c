"""Answers that are made of shares: of clients, of rules, of recipients' domains, and of links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask_mailtrack.errors import ReportError
from flask_mailtrack.figures import SHARES

from .answers import (
    SUFFIX,
    TYPES,
    Count,
    DomainLine,
    LinkFigures,
    LinkLine,
    RecipientDomains,
    RuleLine,
    Share,
    Shares,
    Verdicts,
)
from .rows import Values, merge
from .selection import Selection

DIMENSIONS = ("client", "os", "device", "country")
"""Of opens and clicks, which anybody may ask for."""
_NOTHING: dict[str, int] = dict.fromkeys(SHARES, 0)


def check(dimensions: Sequence[str], kind: str) -> None:
    """Refuse shares that there are not.

    :raises ReportError: a dimension or a type of event does not exist.
    """
    for dimension in dimensions:
        if dimension not in DIMENSIONS:
            raise ReportError(f"dimension is {dimension!r}. Write one of: {', '.join(DIMENSIONS)}.")
    if kind not in TYPES:
        raise ReportError(f"kind is {kind!r}. Write one of: {', '.join(TYPES)}.")


def verdicts_of(opened: Values, clicked: Values) -> Verdicts:
    """Return what the rules have decided.

    :param opened: shares of opens by rule.
    :param clicked: the same of clicks.
    """
    rows = [_rule(rule, opened.get(rule, {}), clicked.get(rule, {})) for rule in {*opened, *clicked}]
    rows.sort(key=lambda row: (-(row.opens + row.clicks), row.verdict, row.reason))
    return Verdicts(tuple(rows), sum(row.opens for row in rows), sum(row.clicks for row in rows))


def domains_of(sent: Values, opened: Values, clicked: Values, about: Selection) -> RecipientDomains:
    """Return what became of mail by the domain of its recipients."""

    def count(shares: Values, domain: str) -> Count:
        numbers = shares.get(domain, _NOTHING)
        return Count(total_of(numbers, about), unique_of(numbers, about))

    rows = [
        DomainLine(domain, sent.get(domain, _NOTHING)["people"], count(opened, domain), count(clicked, domain))
        for domain in {*sent, *opened, *clicked}
    ]
    rows.sort(key=lambda row: (-row.sent, row.domain))
    return RecipientDomains(tuple(rows), sum(row.sent for row in rows))


def links_of(tag: str, values: Values, of: int, about: Selection) -> LinkFigures:
    """Return the links of a campaign.

    :param values: shares by position, part, URL and name.
    :param of: messages of which any link was followed.
    """
    rows = [
        LinkLine(
            url=url,
            name=name,
            position=position,
            part=part,
            total=total_of(numbers, about),
            unique=unique_of(numbers, about),
            people=numbers["people"],
            machines=numbers["machine"],
            unknown=numbers["unknown"],
            of=of,
        )
        for (position, part, url, name), numbers in values.items()
    ]
    rows.sort(key=lambda row: (-row.unique, -row.total, -1 if row.position is None else row.position, row.url))
    return LinkFigures(tag, tuple(rows), of)


def shares_of(
    dimension: str, kind: str, values: Mapping[Any, Mapping[str, int]], selection: Selection, most: int | None = None
) -> Shares:
    """Return shares in words."""
    suffix = SUFFIX[selection.audience]
    of = sum(numbers[f"unique_{suffix}"] for numbers in values.values())
    rows = [
        Share(
            value=value,
            total=total_of(numbers, selection),
            unique=numbers[f"unique_{suffix}"],
            people=numbers["people"],
            machines=numbers["machine"],
            unknown=numbers["unknown"],
            of=of,
        )
        for value, numbers in values.items()
    ]
    kept = sorted((row for row in rows if row.total), key=lambda row: (-row.unique, -row.total, row.value))
    return Shares(dimension, kind, tuple(kept[:most]), sum(row.total for row in rows), of)


def total_of(numbers: Mapping[str, int], selection: Selection) -> int:
    """Return how many events are the audience's."""
    if selection.audience == "all":
        return numbers["people"] + numbers["machine"] + numbers["unknown"]
    return numbers[SUFFIX[selection.audience]]


def unique_of(numbers: Mapping[str, int], selection: Selection) -> int:
    """Return how many messages are there of which the audience's first event is among these."""
    return numbers[f"unique_{SUFFIX[selection.audience]}"]


def _rule(rule: str, opened: dict[str, int], clicked: dict[str, int]) -> RuleLine:
    verdict, _, reason = rule.partition(":")
    both: dict[str, int] = {}
    for numbers in (opened, clicked):
        merge(both, numbers)
    opens, clicks = (sum(each.get(who, 0) for who in ("people", "machine", "unknown")) for each in (opened, clicked))
    return RuleLine(verdict, reason, opens, clicks, both["people"], both["machine"], both["unknown"])
