"""Compiles the bodies of messages, stamps their links, and remembers both."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from flask_mailtrack.config import Settings
from flask_mailtrack.errors import RewriteError
from flask_mailtrack.events import LinkTarget, new_id
from flask_mailtrack.privacy import clean
from flask_mailtrack.tokens import LinkStamp, Signer

from . import placeholders, text, text_links
from .links import Links, as_sent, parse_utm, query_charset, with_utm
from .memory import Memory
from .options import Choice
from .policy import Policy
from .preview import Preview, changes_of
from .rewriting import rewrite
from .services import RELAYS

REMEMBERED = 64
HTML_BYTES, TEXT_BYTES = 32_000_000, 8_000_000
"""Of what is remembered in a process, with all that belongs to it: four to five times the length of a body."""
MAX_NAME = 255


class Template(Protocol):
    """A body with gaps."""

    def render(self, urls: list[str] | None, fill: Mapping[str, str]) -> str:
        """Return it with a URL for each link, or the author's own, and a text for each placeholder."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the preparation of a body depends on, besides the body."""

    opens: bool
    clicks: bool
    foreign: bool
    utm: tuple[tuple[str, str], ...]
    base_url: str = ""
    """Of the tracking host; empty: any of the app's."""
    charset: str = ""
    """In which a browser writes what is not ASCII in a query; empty: UTF-8."""

    @classmethod
    def of(cls, choice: Choice, settings: Settings, charset: str | None = None) -> Plan:
        """Return the plan for a message.

        :param charset: of the message.
        """
        foreign = choice.unsubscribe and settings.foreign_placeholders
        return cls(choice.opens, choice.clicks, foreign, choice.utm, choice.base_url, query_charset(charset))

    @property
    def slots(self) -> re.Pattern[str]:
        """What stands for a personal link in this body."""
        return placeholders.ALL if self.foreign else placeholders.OWN


@dataclass(frozen=True, slots=True)
class Body:
    """A prepared body: the same for all recipients."""

    template: Template
    found: frozenset[str]
    """Names of the placeholders that occur."""
    stamps: tuple[LinkStamp, ...] = ()
    targets: tuple[LinkTarget, ...] = ()
    pixel: bool = False
    """Whether there is room for a pixel."""
    starts: bool = False
    """Whether there is room for it at the start."""
    ends: bool = True
    """Whether there is room for it at the end."""
    failure: RewriteError | None = None
    """Why it goes out as the author wrote it, if it does."""

    def render(self, links: Links, tracked: bool, fill: Mapping[str, str]) -> str:
        """Return the body of one copy.

        :param tracked: off: the author's own links, for somebody who does not want to be measured.
        """
        return self.template.render(links.clicks(self.stamps) if tracked else None, fill)


class _Target(NamedTuple):
    """Where a link leads, and what is known of it."""

    url: str
    name: str = ""
    app: bool = False


class Bodies:
    """Prepares bodies; a newsletter has one, and many recipients."""

    def __init__(self, settings: Settings, signer: Signer) -> None:
        self._settings = settings
        self._signer = signer
        self._policy = Policy(settings, signer)
        self._remembered = Memory(self._html, HTML_BYTES, REMEMBERED)
        self.text = Memory(self._text, TEXT_BYTES, REMEMBERED)

    def html(self, source: str, plan: Plan) -> Body:
        """Return an HTML body, prepared now or before."""
        try:
            return self._remembered(source, plan)
        except RewriteError as error:  # of the moment, not of the body: the next mail may have it better
            return replace(_as_written(source, plan), failure=error)

    def preview(self, source: str, plan: Plan) -> Preview:
        """Return what tracking would change in an HTML body."""
        body = self.html(source, plan)
        if not isinstance(body.template, rewrite.Template):
            return Preview((), False, body.failure)
        example = Links(self._settings.base_url + self._settings.url_prefix, self._signer.message(new_id()), "")
        changes = changes_of(source, body.template, example.clicks(body.stamps))
        return Preview(tuple(changes), body.pixel and plan.opens, None)

    def _html(self, source: str, plan: Plan) -> Body:
        if not plan.opens and not plan.clicks:
            return _as_written(source, plan)
        try:
            template = self._compile(source, plan)
        except RewriteError as error:
            if error.reason == "too_slow":
                raise
            return replace(_as_written(source, plan), failure=error)
        links = [_target(link, plan) for link in template.links]
        body = self._stamped(template, template.slots, links, "html")
        return replace(body, pixel=template.pixel, starts=template.starts, ends=template.ends)

    def _compile(self, source: str, plan: Plan) -> rewrite.Template:
        if plan.opens and self._settings.pixel != "bottom":
            try:
                return self._compiled(source, plan, start=True)
            except RewriteError as error:
                if error.reason != "unverified":
                    raise
        # A body without a place at its start has one at its end.
        return self._compiled(source, plan, start=False)

    def _compiled(self, source: str, plan: Plan, start: bool) -> rewrite.Template:
        settings, policy = self._settings, self._policy
        return rewrite.compile(
            source,
            clicks=plan.clicks,
            refuse=(lambda url: policy.refuse(as_sent(url, plan.charset))) if plan.charset else policy.refuse,
            refuse_text=functools.partial(policy.refuse_text, base_url=plan.base_url),
            slots=plan.slots,
            limits=rewrite.Limits(settings.max_html_bytes, settings.max_links, settings.max_seconds),
            start=start,
            attribute=RELAYS[settings.downstream].attribute,
        )

    def _text(self, source: str, plan: Plan) -> Body:
        if not plan.clicks or not self._settings.text_clicks:
            return _as_written(source, plan)
        template = text_links.compile(source, self._policy.refuse, plan.slots)
        found = text.slots_in(source, plan.slots)
        links = [_Target(with_utm(url, plan.utm)) for url in template.links]
        return self._stamped(text.Filled(source, plan.slots, template), found, links, "text")

    def _stamped(self, template: Template, found: frozenset[str], links: list[_Target], part: str) -> Body:
        stamps = tuple(self._signer.stamp(i, k.url, k.name, part, k.app) for i, k in enumerate(links))
        targets = tuple(LinkTarget(s.ref, k.url, k.name, part) for s, k in zip(stamps, links, strict=True))
        return Body(template, found, stamps, targets)


def _target(link: rewrite.Link, plan: Plan) -> _Target:
    name = clean(link.name or link.text, MAX_NAME)
    utm = parse_utm(link.utm, plan.utm)
    return _Target(with_utm(as_sent(link.url, plan.charset), utm, name), name, link.app)


def _as_written(source: str, plan: Plan) -> Body:
    return Body(text.AsWritten(source, plan.slots), text.slots_in(source, plan.slots))
