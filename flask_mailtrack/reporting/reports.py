"""Every question that a sender asks, each in one call: ``mailtrack.reports``.

The figures come from the sums where these tell apart what is asked for, and from messages and events where they do not.
Both give the same numbers, as long as no row is purged: a sum outlives its rows.
"""

from __future__ import annotations

import copy
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Unpack

from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import EventType, now
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.drain.health import Health
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.domains import DomainRow

from . import answers, attention, share_answers
from .buckets import Buckets
from .click_map import BodyLine, ClickMap, bodies_of, body_of, map_of
from .growth import Sending, opened_so_far
from .links import resolved
from .listings import Listings
from .mailings import Usual, usual_of
from .messages import Messages
from .reasons import comments_of
from .rows import RowFigures, Table, Values
from .selection import Filters, Selection
from .stats import Stats, stats
from .sums import SubjectRefs, SumFigures

LinkRefs = Callable[[str, str, str], Sequence[str]]


class Reports(Listings):
    """The reports of one app. Each takes the fields of a :class:`Selection` by name, or one that an answer gave.

    :param database: where reports read.
    :param subject_refs: returns the hashes of a subject.
    :param link_refs: the same for URL, name and part of a link.
    :param tz: the time zone where a call names none.
    :param health: says how the journal is.
    :param domains: returns the tracking domains.
    """

    def __init__(
        self,
        database: Database,
        subject_refs: SubjectRefs,
        link_refs: LinkRefs,
        tz: str = "UTC",
        health: Callable[[], Health] | None = None,
        domains: Callable[[], list[DomainRow]] | None = None,
    ) -> None:
        self.database = database
        self._tz = tz
        self._link_refs = link_refs
        self._health = health
        self._domains = domains
        self._rows = RowFigures(database)
        self._sums = SumFigures(database, self._rows, subject_refs)
        self._messages = Messages(database, self._rows, self._sums)
        self._within: Scope | None = None

    def within(self, scope: Scope | None) -> Reports:
        """Return the same reports of the mail inside a scope only: for them there is no other mail.

        Attention is then about this mail and its tracking domains. Reports that are narrowed twice are of both scopes.

        :param scope: of whoever asks; ``None``: all mail.
        :raises TypeError: it is neither.
        """
        if scope is not None and not isinstance(scope, Scope):
            raise TypeError(f"within() takes a Scope, or None for all mail, and not {scope!r}.")
        narrowed = copy.copy(self)
        narrowed._within = _inside_both(self._within, scope)
        return narrowed

    def briefly(self) -> Reports:
        """Return the same reports for one page: what holds for all of its questions is asked once."""
        brief = copy.copy(self)
        brief._sums = self._sums.briefly()
        brief._messages = Messages(self.database, self._rows, brief._sums)
        return brief

    def selection(self, selection: Selection | None = None, **filters: Unpack[Filters]) -> Selection:
        """Return what a call is about.

        :param selection: one that is narrowed further.
        :raises ReportError: a value that cannot be meant.
        """
        given: dict[str, Any] = {"tz": self._tz, **filters}
        about = selection.narrowed(**filters) if selection else Selection(**given)
        # Each answer is of what this returns, so that none can forget the scope.
        return about if self._within is None else about.narrowed(within=_inside_both(self._within, about.within))

    def totals(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Totals:
        """Return what became of the selected mail, or with ``basis="happened"`` what happened in the period."""
        about = self.selection(selection, **filters)
        return answers.totals_of(self._figures(about).items(), about)

    def stats(self, *, tag: str | None, list_id: str | None, since: Any, until: Any) -> Stats:
        """Return the short form of :meth:`totals`, by people, of the mail that was made in the period."""
        about = self.selection(tag=tag, list_id=list_id, since=since, until=until)
        if about.within is not None or self._sums.usable():
            return answers.short(self.totals(about))
        return stats(self.database, tag=tag, list_id=list_id, since=about.start, until=about.end)

    def series(self, selection: Selection | None = None, /, *, by: str, **filters: Unpack[Filters]) -> answers.Series:
        """Return the figures of each hour, day, week or month of the period.

        :param by: ``hour``, ``day``, ``week`` (from Monday) or ``month``, of the time zone *tz*. Without ``since`` and
            ``until`` the series begins and ends with the first and last bucket that has anything.
        :raises ReportError: another step, or more than 10,000 buckets.
        """
        about = self.selection(selection, **filters)
        buckets = Buckets(by, about.zone)
        # Too many are refused before anything is asked.
        every = list(buckets.between(about.start, about.end)) if about.start and about.end else None
        figures = self._figures(about, buckets=buckets)
        each: defaultdict[datetime, list[Any]] = defaultdict(list)
        for key, values in figures.items():
            each[key.group].append((key, values))
        nothing = answers.totals_of((), about)
        points = []
        for start, end in _all_buckets(buckets, about, list(each)) if every is None else every:
            rows = each.get(start)
            points.append(answers.Point(start, end, answers.totals_of(rows, about) if rows else nothing))
        return answers.Series(by, about.tz, tuple(points), answers.totals_of(figures.items(), about))

    def campaigns(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Grouped:
        """Return the figures of each tag, with its first and last sending."""
        return self._grouped("tag", self.selection(selection, **filters))

    def lists(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Grouped:
        """Return the figures of each list; the empty name is mail of no list."""
        return self._grouped("list_id", self.selection(selection, **filters))

    def sender_domains(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Grouped:
        """Return the figures of each domain that mail was sent from."""
        return self._grouped("sender_domain", self.selection(selection, **filters))

    def subjects(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Grouped:
        """Return the figures of each subject."""
        return self._grouped("subject", self.selection(selection, **filters))

    def clients(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Shares:
        """Return with what the mail was opened: browsers and mail clients; see :meth:`shares`."""
        return self.shares(selection, dimension="client", **filters)

    def systems(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Shares:
        """Return on which operating systems the mail was opened; see :meth:`shares`."""
        return self.shares(selection, dimension="os", **filters)

    def devices(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Shares:
        """Return on which kinds of device the mail was opened; see :meth:`shares`."""
        return self.shares(selection, dimension="device", **filters)

    def countries(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Shares:
        """Return in which countries the mail was opened; see :meth:`shares`."""
        return self.shares(selection, dimension="country", **filters)

    def shares(
        self,
        selection: Selection | None = None,
        /,
        *,
        dimension: str,
        kind: str = EventType.OPENED.value,
        **filters: Unpack[Filters],
    ) -> answers.Shares:
        """Return how opens or clicks divide among clients, systems, devices or countries.

        :param dimension: ``client``, ``os``, ``device`` or ``country``.
        :param kind: ``opened`` or ``clicked``.
        """
        return self.several_shares(selection, [dimension], kind=kind, **filters)[0]

    def several_shares(
        self,
        selection: Selection | None = None,
        dimensions: Sequence[str] = share_answers.DIMENSIONS,
        /,
        *,
        kind: str = EventType.OPENED.value,
        **filters: Unpack[Filters],
    ) -> list[answers.Shares]:
        """Return :meth:`shares` of several dimensions, which are asked for at once."""
        share_answers.check(dimensions, kind)
        about = self.selection(selection, **filters)
        found = self._several_shares(about, [(dimension, kind) for dimension in dimensions])
        pairs = zip(dimensions, found, strict=True)
        return [share_answers.shares_of(dimension, kind, values, about) for dimension, values in pairs]

    def verdicts(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Verdicts:
        """Return how many opens and clicks each rule has judged, whoever the audience is."""
        about = self.selection(selection, **filters)
        rules = self._several_shares(about, [("rule", kind) for kind in answers.TYPES])
        return share_answers.verdicts_of(*rules)

    def domains(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.RecipientDomains:
        """Return what became of mail by the domain of its recipients: large providers, and all others together."""
        about = self.selection(selection, **filters)
        sent, opened, clicked = self._several_shares(about, [("domain", kind) for kind in ("sent", *answers.TYPES)])
        return share_answers.domains_of(sent, opened, clicked, about)

    def links(self, tag: str, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.LinkFigures:
        """Return the links of a campaign, and how often each was followed.

        :param tag: of the campaign.
        """
        about = self.selection(selection, **(filters | {"tag": tag}))
        values = resolved(self.database, self._link_refs, about, self._shares(about, "link", "clicked"))
        return share_answers.links_of(tag, values, self.totals(about).clicked.unique, about)

    def bodies(self, tag: str) -> tuple[BodyLine, ...]:
        """Return the bodies that are kept of a campaign, the newest first; see ``MAILTRACK_KEEP_BODIES``."""
        return bodies_of(self.database, self._within, self.database.body.c.tag == tag)

    def body(self, message_id: uuid.UUID | str) -> BodyLine | None:
        """Return the body of a message, if it is kept."""
        return body_of(self.database, self._within, message_id)

    def click_map(
        self,
        tag: str,
        selection: Selection | None = None,
        /,
        *,
        body_id: uuid.UUID | str | None = None,
        pictures: Sequence[str] = (),
        **filters: Unpack[Filters],
    ) -> ClickMap | None:
        """Return the mail of a campaign with a badge at each tracked link; ``None`` if no body of it is kept.

        :param tag: of the campaign.
        :param body_id: which of :meth:`bodies`; default: the one that most messages have.
        :param pictures: where pictures may come from, such as ``https://cdn.example.com``; default: nowhere.
        """
        about = self.selection(selection, **filters)
        return map_of(self.database, about.within, tag, body_id, lambda: self.links(tag, about), pictures)

    def unsubscribe_reasons(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Reasons:
        """Return why people unsubscribed, with what they have written."""
        about = self.selection(selection, **filters)
        given = {reason: numbers["people"] for reason, numbers in self._shares(about, "reason", "unsubscribed").items()}
        gone = self.totals(about).unsubscribed
        rows = tuple(sorted(given.items(), key=lambda item: (-item[1], item[0])))
        comments = comments_of(self.database, self._rows, about)
        return answers.Reasons(rows, gone.total - sum(given.values()), gone.total, gone.unique, gone.of, comments)

    def click_to_open(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.ClickToOpen:
        """Return how many messages that people opened were clicked by people, too."""
        totals = self.totals(self.selection(selection, **filters).narrowed(audience="people"))
        return answers.ClickToOpen(totals.opened_and_clicked, totals.opened.unique)

    def compare(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> answers.Comparison:
        """Return the figures of a period, and of the one of the same length just before it.

        :raises ReportError: ``since`` is not given; ``until`` is the present moment unless it is.
        """
        about = self.selection(selection, **filters)
        if about.start is None:
            raise ReportError("since is missing, so there is no period before it. Write since='2026-05-01'.")
        since, until = about.start, about.end or max(now(), about.start)
        try:
            before = since - (until - since)
        except OverflowError:
            text = Phrase("since is %(time)s, before which there is no such period.", time=since.isoformat())
            raise ReportError(text) from None
        this = self.totals(about.narrowed(since=since, until=until))
        last = self.totals(about.narrowed(since=before, until=since))
        return answers.comparison(this, last, before, since, until)

    def usual(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> Usual:
        """Return what is usual for a campaign: medians of up to five mails before it on its list.

        Without a list, they are mails with its tag. Only mails of 50 copies or more tell what is usual.
        """
        return usual_of(self, self.selection(selection, **filters))

    def attention(
        self, selection: Selection | None = None, /, **filters: Unpack[Filters]
    ) -> tuple[attention.Concern, ...]:
        """Return what an operator should look at, the worst first; empty: nothing.

        Mails are those of the last 28 days unless ``since`` says otherwise.
        """
        about = self.selection(selection, **filters)
        found = attention.of_mails(self, about, now())
        domains = self._domains() if self._domains else []
        if about.within is None:
            found += attention.of_domains(domains, now())
            found += attention.of_journal(self._health()) if self._health else []
        else:
            found += attention.of_domains(domains, now(), self._senders(about))
        return tuple(sorted(found, key=lambda each: attention.LEVELS.index(each.level)))

    def subjects_of_tags(self, about: Selection) -> dict[str, list[str]]:
        """Return which subjects the mail of each tag has, whenever that was, as far as the sums tell them apart."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for tag, _, subject in self._sums.subjects(self.selection(about)) if self._sums.usable() else ():
            found[tag].append(subject)
        return found

    def growth(self, sendings: Sequence[Sending]) -> list[tuple[float, ...]]:
        """Return the share of each mail that people had opened after each hour; empty: nobody can say."""
        mine = [replace(each, about=self.selection(each.about)) for each in sendings]
        return opened_so_far(self._sums, mine, now()) if self._sums.usable() else [()] * len(mine)

    def figures(self, about: Selection, groups: Sequence[str] = ()) -> Table:
        """Return the figures of each tag, list, sender domain or subject, or of several of these, not yet in words."""
        return self._figures(self.selection(about), groups)

    def conditions(self, about: Selection) -> list[Any]:
        """Return which messages are selected, apart from the period, for queries of one's own."""
        return self._rows.conditions(self.selection(about))

    def _senders(self, about: Selection) -> Collection[str]:
        """Return the sender domains of a scope: those that it names, or all that its mail comes from."""
        if about.within is not None and about.within.sender_domains is not None:
            return about.within.sender_domains
        return {line.name or "" for line in self._grouped("sender_domain", Selection(within=about.within)).lines}

    def _figures(self, about: Selection, groups: Sequence[str] = (), buckets: Buckets | None = None) -> Table:
        source = self._sums if self._sums.usable() else self._rows
        return source.figures(about, groups, buckets)

    def _shares(self, about: Selection, dimension: str, kind: str) -> Values:
        return self._several_shares(about, [(dimension, kind)])[0]

    def _several_shares(self, about: Selection, pairs: Sequence[tuple[str, str]]) -> list[Values]:
        # Shares are not summed by status.
        if about.status is None and self._sums.usable():
            return self._sums.several_shares(about, pairs)
        return [self._rows.shares(about, *pair) for pair in pairs]

    def _grouped(self, group: str, about: Selection) -> answers.Grouped:
        figures = self._figures(about, (group,))
        return answers.grouped(group, figures, about)


def _all_buckets(buckets: Buckets, about: Selection, found: list[datetime]) -> list[tuple[datetime, datetime]]:
    first = about.start or (min(found) if found else None)
    until = about.end or (buckets.after(max(found)) if found else None)
    return list(buckets.between(first, until)) if first and until else []


def _inside_both(one: Scope | None, other: Scope | None) -> Scope | None:
    return other if one is None else one if other is None else one & other
