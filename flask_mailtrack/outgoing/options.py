"""The options of a message. Five places may set them, and the narrowest place wins."""

from __future__ import annotations

import difflib
import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import InitVar, dataclass, fields
from typing import Any, TypedDict

from flask_mailtrack.config import QUOTED_PRINTABLE, Settings
from flask_mailtrack.errors import UnknownList
from flask_mailtrack.lists import folded, nearest
from flask_mailtrack.modes import Mode
from flask_mailtrack.storage.records import is_deeper

from .text import plain

log: logging.Logger = logging.getLogger("flask_mailtrack.send")

HEADER = "X-Mailtrack"
ATTRIBUTE = "_mailtrack_options"
MAX_NAME = 255
MAX_METADATA_BYTES = 64_000
MAX_METADATA_LEVELS = 20
"""Levels of nested lists and dicts, with the outermost. MariaDB refuses JSON of 32 levels."""

_UTM = re.compile(r"[A-Za-z0-9_]{1,64}")
_SWITCHES = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}
_SWITCHED = ("opens", "clicks", "unsubscribe", "transactional", "store")
_KEYS = {name: name for name in (*_SWITCHED, "tag", "mode", "encoding", "key")} | {"list": "list_id"}
"""The words of the header, and the option behind each."""


class TrackingOptions(TypedDict, total=False):
    """The names and types of :class:`Options`, for functions that take them as keyword arguments."""

    opens: bool | None
    clicks: bool | None
    unsubscribe: bool | None
    tag: str | None
    list_id: str | None
    metadata: Mapping[str, Any] | None
    utm: Mapping[str, str] | None
    transactional: bool | None
    mode: str | None
    columns: Mapping[str, Any] | None
    store: bool | None
    encoding: str | None
    key: str | None
    retry_unknown: bool | None


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one place. ``None`` leaves an option to the wider places.

    :meth:`Mailtrack.track <flask_mailtrack.Mailtrack.track>` documents the fields.

    :raises TypeError: a value has the wrong type.
    :raises ValueError: ``transactional`` is given together with ``clicks`` or ``unsubscribe``; the mode is unknown;
        a name is too long or has control characters; the metadata is not JSON, is too long or too deep, or holds a
        value that databases do not take (NaN, NUL, half an emoji); or a utm name has other characters than letters,
        digits and underscores.
    """

    opens: bool | None = None
    clicks: bool | None = None
    unsubscribe: bool | None = None
    tag: str | None = None
    list_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    utm: Mapping[str, str] | None = None
    transactional: bool | None = None
    mode: str | None = None
    columns: Mapping[str, Any] | None = None
    store: bool | None = None
    encoding: str | None = None
    key: str | None = None
    retry_unknown: bool | None = None
    merged: InitVar[bool] = False
    """Whether the options were merged. The parts have been checked, and may be longer together than each alone."""

    def __post_init__(self, merged: bool) -> None:
        if merged:
            return
        for name in (*_SWITCHED, "retry_unknown"):
            if not isinstance(getattr(self, name), bool | None):
                raise TypeError(f"{name} is {getattr(self, name)!r}: write True or False.")
        for name in ("tag", "list_id"):
            _check_name(name, getattr(self, name))
        if self.key is not None:
            _check_name("key", self.key)
            if not self.key:
                raise ValueError("key is empty: write one that names the mail, such as 'order-7-confirmation'.")
        if self.mode is not None and self.mode not in tuple(Mode):
            raise ValueError(f"mode is {self.mode!r}: write one of {', '.join(Mode)}.")
        if self.encoding not in (None, "", QUOTED_PRINTABLE):
            raise ValueError(f"encoding is {self.encoding!r}: write {QUOTED_PRINTABLE!r}, or '' for Flask-Mail's own.")
        for name in ("metadata", "utm", "columns"):
            if not isinstance(getattr(self, name), Mapping | None):
                raise TypeError(f"{name} is {getattr(self, name)!r}: write a dict.")
        if self.list_id and not 0 < len(folded(self.list_id)) <= MAX_NAME:
            raise ValueError(f"list_id is {self.list_id[:40]!r}: write a name, of up to {MAX_NAME} characters.")
        # Between two places the narrower one decides. One place that sets both has made a mistake.
        for name in ("clicks", "unsubscribe"):
            if self.transactional and getattr(self, name):
                raise ValueError(f"transactional mail has no {name}: leave out transactional=True or {name}=True.")
        _check_metadata(self.metadata or {})
        for key, value in (self.utm or {}).items():
            _check_name(f"utm[{key!r}]", value, required=True)
            if not isinstance(key, str) or not _UTM.fullmatch(key):
                raise ValueError(f"utm has {key!r}: write a name such as 'source', of letters, digits and underscores.")

    def within(self, wider: Options) -> Options:
        """Return these options, completed by *wider* ones. Dicts are merged."""
        values = {f.name: _narrower(getattr(self, f.name), getattr(wider, f.name)) for f in fields(self)}
        return Options(**values, merged=True)


@dataclass(frozen=True, slots=True)
class Tracking:
    """The decision for one message, after all places were asked."""

    opens: bool
    clicks: bool
    unsubscribe: bool
    tag: str
    list_id: str
    """The name of the list, folded, as it is stored."""
    metadata: Mapping[str, Any]
    utm: tuple[tuple[str, str], ...]
    base_url: str
    mode: Mode
    columns: Mapping[str, Any]
    list_name: str = ""
    """The name of the list as configured, or else as written. It is for ``List-Id``, by which mail programs sort."""
    transactional: bool = False
    foreign: bool = False
    """Whether to fill in the unsubscribe placeholders of other services, also in mail without a list."""
    store: bool = True
    encoding: str = ""
    key: str = ""
    retry_unknown: bool = False


_block: ContextVar[Options | None] = ContextVar("mailtrack_options", default=None)


@contextmanager
def block(options: Options) -> Iterator[None]:
    """Apply *options* to all mail that is sent inside. Blocks nest."""
    wider = _block.get()
    reset = _block.set(options.within(wider) if wider else options)
    try:
        yield
    finally:
        _block.reset(reset)


def choose(
    settings: Settings,
    sender_domain: str,
    header: str,
    own: Options | None,
    foreign: Mapping[str, Any] | None = None,
    operator: Mapping[str, bool] | None = None,
) -> Tracking:
    """Decide by account, sender domain, block, header and message. A later one is stronger.

    A switch of the operator that is off is off in any case. A switch that is on replaces account and sender domain.

    :param header: the value of :data:`HEADER`, or ``""``.
    :param own: the options that :meth:`Mailtrack.track <flask_mailtrack.Mailtrack.track>` left on the message.
    :param foreign: the options from headers of other services; the header of this package is stronger.
    :param operator: the result of :meth:`.Operator.decisions`.
    """
    decided = operator or {}
    domain = dict(settings.sender_domains.get(sender_domain, {}))
    base_url = domain.pop("base_url", settings.base_url)
    domain |= {key: True for key in ("opens", "clicks") if decided.get(key)}
    if "unsubscribe" in decided:
        domain.pop("unsubscribe", None)
    said = Options(utm=settings.utm, **domain) if settings.utm or domain else _NOTHING
    for _, narrower in places(header, own, foreign):
        said = narrower if said is _NOTHING else narrower.within(said)
    check_list(settings.lists, said.list_id)
    if said.transactional and said.list_id:
        log.info("transactional mail is of no list: %r, which another place names, does not count", said.list_id[:80])
    name = "" if said.transactional else said.list_id or ""
    list_id = folded(name)
    listed = decided.get("unsubscribe", settings.unsubscribe) and bool(list_id)
    offered = decided.get("unsubscribe", settings.unsubscribe) if said.unsubscribe is None else said.unsubscribe
    opens = settings.opens if said.opens is None else said.opens
    clicks = settings.clicks if said.clicks is None else said.clicks
    store = said.store is not False
    unsubscribe = listed if said.unsubscribe is None else said.unsubscribe
    return Tracking(
        opens=opens and store and decided.get("opens", True),
        clicks=clicks and store and not said.transactional and decided.get("clicks", True),
        unsubscribe=unsubscribe and not said.transactional and decided.get("unsubscribe", True),
        tag=said.tag or "",
        list_id=list_id,
        metadata=said.metadata or {},
        utm=tuple(sorted((plain(key), plain(value)) for key, value in (said.utm or {}).items())),
        base_url=base_url,
        mode=Mode(said.mode or settings.mode),
        columns=said.columns or {},
        list_name=next((known for known in settings.lists if folded(known) == list_id), name),
        transactional=bool(said.transactional),
        foreign=offered and not said.transactional and decided.get("unsubscribe", True),
        store=store,
        encoding=settings.encoding if said.encoding is None else said.encoding,
        key=said.key or "",
        retry_unknown=bool(said.retry_unknown),
    )


def places(header: str, own: Options | None, foreign: Mapping[str, Any] | None = None) -> list[tuple[str, Options]]:
    """Return the places that set options of a message, from the widest to the narrowest, with their options.

    The parameters are those of :func:`choose`.
    """
    found = (
        ("the block", _block.get()),
        ("a header of another service", _lenient(foreign) if foreign else None),
        (f"the header {HEADER}", parse(header) if header else None),
        ("the message", own),
    )
    return [(place, said) for place, said in found if said]


def check_list(lists: Collection[str], name: str | None) -> None:
    """Refuse a name that is not among *lists*, if there are any lists.

    :raises UnknownList: the name is most likely misspelt, so that its opt-outs would not be found.
    """
    if lists and name and folded(name) not in map(folded, lists):
        raise UnknownList(name, nearest(name, lists))


def names_a_list(message: object) -> bool:
    """Say whether a message or its block names a list, without asking anything else."""
    return any(options.list_id or options.unsubscribe for options in _said_of(message))


def key_of(message: object) -> str:
    """Return the send key of a message or its block, without asking anything else; empty: there is none."""
    return next((options.key for options in _said_of(message) if options.key), "")


def _said_of(message: object) -> list[Options]:
    """Return the options of a message itself, of its header, and of its block."""
    given = getattr(message, "extra_headers", None) or {}
    header = "; ".join(str(value) for name, value in given.items() if str(name).lower() == HEADER.lower())
    every = (getattr(message, ATTRIBUTE, None), parse(header), _block.get())
    return [options for options in every if options is not None]


def parse(header: str) -> Options:
    """Read ``opens=on; clicks=off; tag=welcome; list=news``, or ``off``, which means opens and clicks.

    A header may come from far away, so an item that cannot be read is logged instead of raised. The item may have
    asked for less, so opens and clicks are then off. If the item was about ``store``, the mail is not kept.
    """
    said, less = _NOTHING, _NOTHING
    for item in filter(None, map(str.strip, header.split(";"))):
        key, _, value = (part.strip() for part in item.partition("="))
        try:
            said = _one(key.lower(), value).within(said)
        except ValueError as error:
            log.warning("%s: %r cannot be read, so opens and clicks are off: %s", HEADER, item[:80], error)
            about_store = difflib.get_close_matches(key.lower(), _KEYS, 1) == ["store"]
            less = (_UNKEPT if about_store else _UNTRACKED).within(less)
    return less.within(said)


def _lenient(values: Mapping[str, Any] | None) -> Options:
    """Return the options of *values*, one by one. A value that is not valid is logged."""
    said = _NOTHING
    for name, value in (values or {}).items():
        try:
            said = Options(**{name: value}).within(said)
        except ValueError as error:
            log.warning("%s is passed over: %s", name, error)
    return said


def _one(key: str, value: str) -> Options:
    if not value and key in _SWITCHES:
        return Options(opens=_SWITCHES[key], clicks=_SWITCHES[key])
    if key not in _KEYS:
        raise ValueError(f"{key[:40]!r} is not an option. {_nearest(key, (*_KEYS, *_SWITCHES))}")
    said: Mapping[str, Any] = {_KEYS[key]: value}
    if key in _SWITCHED:
        if value.lower() not in _SWITCHES:
            raise ValueError(f"Write {key}=on or {key}=off.")
        said = {key: _SWITCHES[value.lower()]}
    return Options(**said)


def said_in_code(options: TrackingOptions) -> Options:
    """Return the options that a host gives as keyword arguments.

    :raises TypeError: a value has the wrong type, or a name is not an option; the text names the nearest one.
    :raises ValueError: as for :class:`Options`.
    """
    for name in options:
        if name not in TrackingOptions.__annotations__:
            raise TypeError(f"{name!r} is not an option. {_nearest(name, TrackingOptions.__annotations__)}")
    said = Options(**options)
    if said.transactional and said.list_id:
        raise ValueError("transactional mail is of no list: give list_id or transactional=True, not both.")
    return said


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, 1)
    return f"Did you mean {close[0]}?" if close else f"Write one of {', '.join(known)}."


def _check_name(name: str, value: Any, *, required: bool = False) -> None:
    if value is None and not required:
        return
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}: write a string.")
    if len(value) > MAX_NAME or not value.isprintable():
        raise ValueError(f"{name} is {value[:40]!r}: write up to {MAX_NAME} printable characters.")


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    if is_deeper(metadata, MAX_METADATA_LEVELS):
        raise ValueError(
            f"metadata is nested deeper than {MAX_METADATA_LEVELS} levels: keep a key, and the rest yourself."
        )
    try:
        text = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"metadata cannot be kept as JSON: {error}") from error
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"metadata has {size} bytes of JSON: keep up to {MAX_METADATA_BYTES}, such as a key of yours.")
    if "\\u0000" in text.replace("\\\\", ""):
        raise ValueError("metadata cannot be kept as JSON: it has a NUL character, which PostgreSQL refuses.")


def _narrower(own: Any, wider: Any) -> Any:
    if isinstance(own, Mapping) and isinstance(wider, Mapping):
        return {**wider, **own}
    return wider if own is None else own


_NOTHING = Options()
_UNTRACKED = Options(opens=False, clicks=False)
_UNKEPT = Options(opens=False, clicks=False, store=False)
