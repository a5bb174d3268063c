"""Compiles the bodies of messages and stamps their links. Both are remembered, up to a number of bytes.

A preview shows the changes that tracking would make in a body, before anybody sends the mail.
"""

from __future__ import annotations

import bisect
import functools
import gc
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FunctionType, ModuleType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of, is_carried, is_public, is_well_formed
from flask_mailtrack.errors import RewriteError
from flask_mailtrack.events import LinkTarget, new_id
from flask_mailtrack.privacy import clean
from flask_mailtrack.storage.tables.switches import SwitchStatus
from flask_mailtrack.tokens import LinkStamp, Signer

from . import placeholders, text
from .headers import RELAYS
from .links import Links, Policy, as_sent, parse_utm, query_charset, with_utm
from .options import Tracking
from .placeholders import Slot, Slots
from .rewriting import rewrite
from .rewriting.scan import scan
from .rewriting.template import END

V = TypeVar("V")
_NO_DATA = (type, ModuleType, FunctionType, re.Pattern)


class Memory(Generic[V]):
    """Makes values and remembers them. The least recently used values are forgotten first.

    :param make: makes the value for a key. An exception is not remembered.
    :param limit: bytes of all keys and values together. A value that is larger by itself is made each time.
    :param count: the number of values at most.
    """

    def __init__(self, make: Callable[..., V], limit: int, count: int) -> None:
        self._make, self._limit, self._count = make, limit, count
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self.bytes: int = 0

    def __call__(self, *key: Hashable) -> V:
        """Return the value for *key*, the arguments of ``make``."""
        with self._lock:
            if found := self._values.get(key):
                self._values.move_to_end(key)
                return found[0]
        value = self._make(*key)
        size = size_of((key, value))
        with self._lock:
            if size <= self._limit and key not in self._values:
                self._values[key] = value, size
                self.bytes += size
                while self.bytes > self._limit or len(self._values) > self._count:
                    self.bytes -= self._values.popitem(last=False)[1][1]
        return value


def size_of(value: Any) -> int:
    """Return the bytes of *value* and of all data behind it, each counted once."""
    seen: set[int] = set()
    total, ahead = 0, [value]
    while ahead:
        each = ahead.pop()
        if id(each) in seen or isinstance(each, _NO_DATA):
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        ahead += gc.get_referents(each)
    return total


REMEMBERED = 64
HTML_BYTES, TEXT_BYTES = 32_000_000, 8_000_000
"""Bytes of remembered bodies in a process. A compiled body takes four to five times the length of its source."""
MAX_NAME = 255
AMP = "x-amp-html"
"""The subtype of an AMP part."""


class CompiledBody(Protocol):
    """A body with gaps."""

    def render(self, urls: list[str] | None, fill: Mapping[str, str]) -> str:
        """Return the body with a URL for each link, or the author's own, and a text for each placeholder."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """The options on which the preparation of a body depends."""

    opens: bool
    clicks: bool
    foreign: bool
    """Whether to fill in the placeholders of other services."""
    utm: tuple[tuple[str, str], ...]
    base_url: str = ""
    """The base URL of the tracking host; empty: any of the app's."""
    references: bool = True
    """Whether links may go by reference. If not, links that are too long to be carried stay as written."""
    charset: str = ""
    """The charset in which a browser writes a query that is not ASCII; empty: UTF-8."""

    @classmethod
    def of(cls, choice: Tracking, charset: str | None = None) -> Plan:
        """Return the plan for a message.

        :param charset: of the message.
        """
        return cls(
            choice.opens, choice.clicks, choice.foreign, choice.utm, choice.base_url, charset=query_charset(charset)
        )


@dataclass(frozen=True, slots=True)
class Body:
    """A prepared body: the same for all recipients."""

    template: CompiledBody
    found: frozenset[str]
    """The names of the placeholders in the body."""
    stamps: tuple[LinkStamp, ...] = ()
    targets: tuple[LinkTarget, ...] = ()
    pixel: bool = False
    """Whether there is room for a pixel."""
    starts: bool = False
    """Whether there is room for a pixel at the start."""
    ends: bool = True
    """Whether there is room for a pixel at the end."""
    failure: RewriteError | None = None
    """The reason for which the body goes out as the author wrote it, if it does."""
    leads_out: bool = False
    """Whether the body has a link by which a reader can leave."""
    staying: tuple[str, ...] = ()
    """The placeholders that stay as they are."""
    takes_footer: bool = False
    """Whether there is room for a footer."""

    @property
    def referred(self) -> list[LinkTarget]:
        """The links that go by reference, and lead nowhere without their row."""
        return [target for stamp, target in zip(self.stamps, self.targets, strict=True) if not stamp.tail]

    def render(self, links: Links, tracked: bool, fill: Mapping[str, str]) -> str:
        """Return the body of one copy.

        :param tracked: ``False``: the author's own links, for a person who does not want to be measured.
        """
        return self.template.render(links.clicks(self.stamps) if tracked else None, fill)


class _Target(NamedTuple):
    """The destination of a link, and the facts about the link."""

    url: str
    name: str = ""
    app: bool = False


class Bodies:
    """Prepares bodies. A newsletter has one body and many recipients, so bodies are remembered."""

    def __init__(self, settings: Settings, signer: Signer) -> None:
        self.placeholders: placeholders.Placeholders = placeholders.Placeholders(signer.labels)
        self._example = Links(
            settings.base_url + settings.url_prefix, signer.message(new_id()), signer.labels("")[0][:16]
        )
        self._slots = Slots(self.placeholders, settings.foreign_placeholders, self._example.personal)
        self._settings = settings
        self._signer = signer
        self._policy = Policy(settings, signer)
        self._remembered = Memory(self._html, HTML_BYTES, REMEMBERED)
        self.text: Memory[Body] = Memory(self._text, TEXT_BYTES, REMEMBERED)
        self.alternative: Memory[Body] = Memory(self._alternative, TEXT_BYTES, REMEMBERED)

    def html(self, source: str, plan: Plan) -> Body:
        """Return an HTML body, prepared now or earlier."""
        try:
            return self._remembered(source, plan)
        except RewriteError as error:  # such as a busy processor; the next mail may succeed
            return replace(self.as_written(source, plan), failure=error)

    def preview(self, source: str, choice: Tracking) -> Preview:
        """Return the changes that tracking would make in an HTML body."""
        body = self.html(source, Plan.of(choice))
        about = (body.failure, body.staying, is_dead_end(choice, self._settings, [body]))
        if not isinstance(body.template, rewrite.Template):
            return Preview((), False, *about)
        changes = changes_of(source, body.template, self._example.clicks(body.stamps))
        shown = tuple(change._replace(before=self._shown(change.before)) for change in changes)
        return Preview(shown, body.pixel and choice.opens, *about)

    def _html(self, source: str, plan: Plan) -> Body:
        if not plan.opens and not plan.clicks:
            return self.as_written(source, plan)
        slots = self._slots.in_html(source, plan.foreign)
        try:
            template = self._compile(source, plan, slots)
        except RewriteError as error:
            if error.reason == "too_slow":
                raise
            return replace(self.as_written(source, plan), failure=error)
        links = [self._target(link, plan) for link in template.links]
        body = self._stamped(template, slots, links, "html", plan)
        return replace(
            body, pixel=template.pixel, starts=template.starts, ends=template.ends, takes_footer=template.closes
        )

    def _target(self, link: rewrite.Link, plan: Plan) -> _Target:
        name = clean(self._shown(link.name or link.text), MAX_NAME)
        utm = parse_utm(link.utm, plan.utm)
        return _Target(with_utm(as_sent(link.url, plan.charset), utm, name), name, link.app)

    def _shown(self, text: str) -> str:
        return self.placeholders.shown(text, self._example.personal)

    def _compile(self, source: str, plan: Plan, slots: list[Slot]) -> rewrite.Template:
        settings = self._settings
        compiled = functools.partial(
            rewrite.compile,
            source,
            clicks=plan.clicks,
            refuse=functools.partial(self._refuse, plan=plan),
            refuse_text=functools.partial(self._policy.refuse_text, base_url=plan.base_url),
            slots=[slot[:3] for slot in slots],
            limits=rewrite.Limits(max_seconds=settings.max_seconds),
            attribute=RELAYS[settings.downstream].attribute,
        )
        if plan.opens and settings.pixel != "bottom":
            try:
                return compiled(start=True)
            except RewriteError as error:
                if error.reason != "unverified":
                    raise
        # A body without a place for a pixel at its start has one at its end.
        return compiled(start=False)

    def _text(self, source: str, plan: Plan) -> Body:
        slots = self._slots.in_text(source, plan.foreign)
        if not plan.clicks or not self._settings.text_clicks:
            return replace(_body(text.AsWritten(source, slots), slots), takes_footer=True)
        refuse = functools.partial(self._refuse, plan=replace(plan, charset=""))
        template = text.compile(source, refuse, [slot[:3] for slot in slots])
        links = [_Target(with_utm(url, plan.utm)) for url in template.links]
        body = self._stamped(text.Filled(source, slots, template=template), slots, links, "text", plan)
        return replace(body, takes_footer=True)

    def as_written(self, source: str, plan: Plan) -> Body:
        """Return an HTML body in which only the placeholders change."""
        slots = self._slots.in_html(source, plan.foreign)
        return _body(text.AsWritten(source, slots), slots)

    def _alternative(self, kind: str, source: str, plan: Plan) -> Body:
        """Return another alternative, which is not tracked. An AMP part has a place for the footer."""
        if "html" not in kind.lower():
            slots = self._slots.in_text(source, plan.foreign)
        else:
            slots = self._slots.in_html(source, plan.foreign)
        body = _body(text.AsWritten(source, slots), slots)
        if kind.lower() != AMP:
            return body
        point = scan(source).pixel_point
        before, behind = ([s for s in slots if (s.start >= point) is later] for later in (False, True))
        return replace(
            body, template=text.AsWritten(source, [*before, Slot(point, point, END), *behind]), takes_footer=True
        )

    def footer(self, source: str, part: str) -> text.AsWritten | None:
        """Return a rendered footer with gaps for the recipient's links.

        :param part: ``html`` or ``txt``.
        :returns: ``None`` if the host's template does not keep the URL as a whole word or value.
        """
        slots = self._slots.in_html(source, False) if part == "html" else self._slots.in_text(source, False)
        waiting = text.AsWritten(source, slots)
        return None if self.placeholders.left_in(waiting.rest) else waiting

    def _refuse(self, url: str, plan: Plan) -> str | None:
        sent = as_sent(url, plan.charset)
        reason = self._policy.refuse(sent)
        return reason if reason or plan.references or is_carried(sent) else "too_long"

    def _stamp(self, position: int, link: _Target, part: str, references: bool) -> LinkStamp:
        stamp = self._signer.stamp(position, link.url, link.name, part, link.app)
        return stamp._replace(tail="") if references and not is_carried(link.url) else stamp

    def _stamped(self, template: CompiledBody, slots: list[Slot], links: list[_Target], part: str, plan: Plan) -> Body:
        stamps = tuple(self._stamp(i, k, part, plan.references) for i, k in enumerate(links))
        targets = tuple(LinkTarget(s.ref, k.url, k.name, part) for s, k in zip(stamps, links, strict=True))
        return replace(_body(template, slots), stamps=stamps, targets=targets)


def is_dead_end(choice: Tracking, settings: Settings, bodies: Sequence[Body]) -> bool:
    """Say whether a list mail of these *bodies* has no link by which the reader can leave."""
    footer = choice.unsubscribe and settings.footer
    listed = choice.list_id and not choice.transactional
    return bool(listed) and not any(b.leads_out or (footer and b.takes_footer) for b in bodies)


def _body(template: CompiledBody, slots: list[Slot]) -> Body:
    return Body(
        template,
        frozenset(slot.name for slot in slots if slot.name),
        leads_out=any(slot.leads_out for slot in slots),
        staying=tuple(dict.fromkeys(slot.said for slot in slots if slot.said)),
    )


class Change(NamedTuple):
    """One ``href`` of the source."""

    line: int
    """The line, counted from 1."""
    before: str
    """The author's value. A placeholder is replaced by a link like the recipient's."""
    after: str
    """The tracked URL; empty if the link is left alone."""
    reason: str
    """The reason for which the link is left alone; empty if it is tracked."""
    note: str = ""
    """Oddities of the destination: ``malformed``, ``unreachable``, or both."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The fate that a body would have."""

    changes: tuple[Change, ...]
    pixel: bool
    """Whether the body would get a pixel."""
    failure: RewriteError | None
    """The reason for which the body would go out as written."""
    staying: tuple[str, ...] = ()
    """The placeholders that would reach the reader as they are."""
    dead_end: bool = False
    """Whether this is a list mail in which no link leads out of the list."""
    switches: tuple[SwitchStatus, ...] = ()
    """The switches for the mail, with the author of each decision."""


def changes_of(source: str, template: rewrite.Template, urls: list[str]) -> Iterator[Change]:
    """Yield each link of *source* in order.

    :param urls: the URL for each link of *template*.
    """
    lines = [0]
    while (end := source.find("\n", lines[-1])) >= 0:
        lines.append(end + 1)
    links = template.links
    tracked = [(p.offset, source[p.offset : p.end], urls[p.link], "", links[p.link].url) for p in template.places]
    alone = [(s.offset, s.url, "", s.reason, s.url) for s in template.skipped]
    for offset, before, after, reason, url in sorted(tracked + alone):
        yield Change(bisect.bisect_right(lines, offset), before, after, reason, _note(url))


def _note(url: str) -> str:
    """Name the oddities of an http(s) address. The link is still tracked, and kept byte for byte."""
    if not url[:8].lower().startswith(("http://", "https://")):
        return ""
    odd = {"malformed": not is_well_formed(url), "unreachable": not is_public(host_of(url))}
    return ", ".join(word for word, holds in odd.items() if holds)
