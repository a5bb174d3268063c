"""What a view of the console works with: who looks, what they ask for, and what the page is made with."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from functools import cached_property, partial
from itertools import chain, islice
from typing import Any, NoReturn
from urllib.parse import urlencode

from flask import (
    Response,
    abort,
    current_app,
    make_response,
    redirect,
    request,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape

from flask_mailtrack import wording
from flask_mailtrack.events import OptOutKind, now
from flask_mailtrack.languages import Words
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.privacy import mask
from flask_mailtrack.reporting.exports import csv_lines
from flask_mailtrack.reporting.reports import Reports
from flask_mailtrack.scope import Scope
from flask_mailtrack.state import State
from flask_mailtrack.templating import rendered
from flask_mailtrack.time_zones import zone_of

from .access import Viewer
from .forms import FormTokens, holder_of
from .look import Look, look_of
from .sentences import DONE
from .tenancy import Tenancy

NAME = "mailtrack_console"

log: logging.Logger = logging.getLogger("flask_mailtrack.console")


NAVIGATION = (
    ("Results", (("overview", "Overview"), ("campaigns", "Campaigns"), ("messages", "Messages"), ("people", "People"))),
    ("Opt-outs", (("unsubscribes", "Unsubscribes"), ("suppressions", "Suppressions"))),
    ("Set-up", (("domains", "Domains"), ("settings", "Settings"))),
    ("Inside", (("machines", "Machines"), ("health", "Health"), ("live", "Live"))),
)
"""The groups of pages. A page stands there under the name of its endpoint, without what follows an underscore."""
_ONE_OF = {"campaign": "campaigns", "message": "messages", "person": "people", "domain": "domains"}
"""Pages about one thing, and the page that lists all of them."""


@dataclass(frozen=True, slots=True)
class Brand:
    """How the console looks in a host; see :class:`~.console.Console`."""

    name: str
    logo: str
    stylesheet: str


class Desk:
    """What a view of the console works with.

    :param viewer: who looks.
    :param state: the parts of the app.
    :param reports: of what the viewer may see.
    :param scope: what that is; ``None``: everything.
    :param speech: the language of the page.
    """

    def __init__(
        self, viewer: Viewer, state: State, reports: Reports, scope: Scope | None, speech: Words, brand: Brand
    ) -> None:
        self.viewer = viewer
        self.state = state
        self.reports = reports
        self.scope = scope
        self.t = speech
        self.brand = brand
        self.now: datetime = now()
        self.tz: str = state.settings.timezone
        self.zone: tzinfo = zone_of(self.tz)

    @cached_property
    def clock(self) -> wording.Clock:
        """Writes times."""
        return wording.Clock(self.zone, self.now, self.t)

    @cached_property
    def look(self) -> Look:
        """What the address of the page asks for."""
        rows = (request.endpoint or "").rpartition(".")[2].startswith("messages")
        asked = {name: value for name, value in request.args.items() if rows or name not in _OF_ROWS}
        return look_of(asked, self.zone, self.tz, self.now)

    @cached_property
    def forms(self) -> FormTokens:
        """Signs the forms."""
        settings = self.state.settings
        return FormTokens(settings.secret_keys, settings.app_id)

    @cached_property
    def holder(self) -> str:
        """For whom forms are signed."""
        return holder_of(self.viewer.name)

    @property
    def paused(self) -> bool:
        """Whether measuring is paused. The page stands also while nobody can say."""
        try:
            return self.state.administration.settings.paused
        except Exception:
            return False

    @property
    def done(self) -> str:
        """What the form before has done, as a sentence."""
        return DONE.get(request.args.get("done", ""), "")

    def navigation(self) -> Iterator[tuple[str, list[tuple[str, str, bool]]]]:
        """Yield each group of pages that the viewer may see: page, name, and whether it is this one."""
        views = current_app.view_functions
        here = (request.endpoint or "").rpartition(".")[2].partition("_")[0]
        here = _ONE_OF.get(here, here)
        for title, pages in NAVIGATION:
            if shown := [(page, name, page == here) for page, name in pages if f"{request.blueprint}.{page}" in views]:
                yield title, shown

    def tenancy(self, sending: Iterable[str] = ()) -> Tenancy:
        """Return what of the set-up is the viewer's.

        :param sending: the sender domains of the mail that the viewer may see.
        """
        if self.scope is None:
            return Tenancy(None, sending)
        state = self.state
        sent = (line.name or "" for line in state.reports.briefly().sender_domains().lines)
        set_up = (name for name in state.administration.settings.overview() if "@" not in name)
        return Tenancy(self.scope, sending, {*sent, *set_up, *state.settings.sender_domains})

    def may(self, permission: str) -> bool:
        """Return whether the viewer has a permission."""
        return self.viewer.may(permission)

    @property
    def author(self) -> str:
        """Who changes something, for the log: the viewer, if the host names them."""
        return self.viewer.name or "the console"

    def named(self, author: str) -> str:
        """Return the author of a change as the viewer may see them: a name may be an address."""
        hidden = "@" in author and author != self.viewer.name and not self.may("addresses")
        return mask(author) if hidden else author

    def need(self, permission: str) -> None:
        """Answer 404 unless the viewer has a permission."""
        if not self.may(permission):
            abort(404)

    def missing(self, text: str) -> NoReturn:
        """Answer 404 with a sentence, which is given in English."""
        abort(404, self.t(text))

    def address(self, address: str) -> Markup:
        """Return an address as the viewer may see it."""
        shown = wording.breakable(address) if self.may("addresses") else escape(mask(address))
        return Markup("<bdi>{}</bdi>").format(shown)

    def plain_address(self, address: str) -> str:
        """Return an address as the viewer may see it, for a file."""
        return address if self.may("addresses") else mask(address)

    def text(self, text: str) -> str:
        """Return what others have written, such as a subject or a URL: addresses in it as the viewer may see them."""
        return text if self.may("addresses") else wording.without_addresses(text)

    def say(self, text: str) -> Markup:
        """Return a phrase in the language of the page: addresses in it as the viewer may see them."""
        return self.t.say(text, lambda value: self.text(self.clock.written(value)))

    def cause(self, error: Exception) -> Markup:
        """Return what an error says: in the language of the page, if its text is a phrase."""
        return self.say(error.args[0] if error.args and isinstance(error.args[0], Phrase) else str(error))

    @staticmethod
    def linkable(text: str) -> bool:
        """Return whether a text may stand in the address of a page: with an address in it, it would stand in logs."""
        return wording.without_addresses(text) == text

    def url(self, page: str, **values: Any) -> str:
        """Return the address of a page of the console."""
        return url_for(f".{page}", **values)

    @property
    def home(self) -> str:
        """The first page of the app; empty: it has none, or it is the console's own."""
        there = current_app.create_url_adapter(request)
        path = f"{request.script_root}/"
        return path if there is not None and path != self.root and there.test("/", "GET") else ""

    @property
    def today(self) -> date:
        """The day that it is in the time zone of the console."""
        return self.now.astimezone(self.zone).date()

    @cached_property
    def root(self) -> str:
        """The address of the console, with its slash: to make many addresses of."""
        return self.url("overview")

    def here(self, **changes: str | None) -> str:
        """Return the address of this page, but for some changes of the look."""
        kept = {name: value for name, value in request.args.items() if name not in (*_OF_LOOKS, "page", "format")}
        own_changes = {name: value for name, value in changes.items() if name not in _OF_LOOKS}
        query = kept | self.look.query(**{name: changes[name] for name in changes if name in _OF_LOOKS})
        query |= {name: value for name, value in own_changes.items() if value is not None}
        query = {name: value for name, value in query.items() if own_changes.get(name, value) is not None}
        if "person" in kept and changes.get("period"):  # where no period is all the time
            query["period"] = str(changes["period"])
        # Of these names, some would mean something to url_for.
        path = url_for(self._page(), **(request.view_args or {}))
        return f"{path}?{urlencode(query)}" if query else path

    def _page(self) -> str:
        """Return the endpoint of this page: of a form, that of the page that it stands on."""
        asked = request.endpoint or ""
        if any("GET" in (rule.methods or ()) for rule in current_app.url_map.iter_rules(asked)):
            return asked
        page = f"{asked.rpartition('.')[0]}.{asked.rpartition('.')[2].partition('_')[0]}"
        return page if page in current_app.view_functions else ".overview"

    def to(self, page: str, /, *, keep: bool = True, **values: Any) -> str:
        """Return the address of another page with the same look; *values* that are ``None`` are left out."""
        named = {name: value for name, value in values.items() if value is not None}
        kept = self.look.query() if keep else {}
        if page != "messages":
            kept = {name: value for name, value in kept.items() if name not in _OF_ROWS}
        return self.url(page, **(kept | named))

    def form(self, page: str) -> Markup:
        """Return the hidden fields of a form that is sent to a page."""
        return self.forms.fields(page, self.holder)

    @property
    def _writing(self) -> dict[str, Any]:
        """What writes figures in the language of the page."""
        figures = {each.__name__: partial(each, t=self.t) for each in (wording.number, wording.percent, wording.points)}
        return {"breakable": wording.breakable, **figures}

    def page(self, template: str, /, *, status: int = 200, **values: Any) -> Response:
        """Return a page.

        :param template: its name below ``mailtrack/console``.
        """
        about = {"desk": self, "t": self.t, "look": self.look, **self._writing}
        answer = make_response(rendered(f"mailtrack/console/{template}", **about, **values), status)
        answer.mimetype = "text/html"  # whatever is usual in the host
        return answer

    def back(self, page: str, /, said: str = "", **values: Any) -> ResponseReturnValue:
        """Return the answer to a form: the reader is led to a page, which begins with a sentence.

        :param said: the name of the sentence, of :data:`~.sentences.DONE`.
        """
        return redirect(self.url(page, **values, **({"done": said} if said else {})), 303)

    def change(
        self,
        address: str,
        *,
        out: bool,
        list_id: str = "",
        kind: OptOutKind = OptOutKind.UNSUBSCRIBE,
        reason: str = "",
        note: str = "",
    ) -> None:
        """Record that somebody gets no more mail, or may get it again, with who has decided so.

        :raises ValueError: it is no address.
        """
        self.state.people.change(
            address,
            out=out,
            list_id=list_id,
            kind=kind,
            reason=reason,
            method="console",
            by=self.viewer.name,
            source=f"console: {wording.without_addresses(note)}" if note else "console",
        )

    def settle(self) -> None:
        """Have what was just decided in the tables before the next page shows them. If not now, it is on disk."""
        with suppress(Exception):
            self.state.drain.settle()

    def _masked(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return a row of a file as the viewer may see it. Whatever text a file gets, no view can forget this."""
        return [self.text(cell) if isinstance(cell, str) else cell for cell in row]

    @property
    def wants_csv(self) -> bool:
        """Whether the page is asked for as a file. A viewer who may not have files gets 404."""
        if request.args.get("format") != "csv":
            return False
        self.need("export")
        return True

    def json(self, name: str, content: Any) -> Response:
        """Return a JSON file."""
        answer = make_response(json.dumps(content, ensure_ascii=False, indent=2))
        answer.mimetype = "application/json"
        answer.headers["Content-Disposition"] = f'attachment; filename="{name}_{self.now:%Y-%m-%d}.json"'
        return answer

    def csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
        """Return a CSV file, written while it is sent: UTF-8, for spreadsheets, formulas disarmed, addresses masked.

        :param name: of the file, without its ending; the days of the look are added.
        """
        file = f"{name}_{self.look.since}_{self.look.until}.csv"
        lines = csv_lines(header, map(self._masked, rows))
        begun = list(islice(lines, 2))  # with the first row, so that what cannot be read is no empty file
        answer = make_response(stream_with_context(chain(begun, _to_the_end(lines))))
        answer.mimetype = "text/csv"
        answer.headers["Content-Disposition"] = f'attachment; filename="{file}"'
        return answer


def _to_the_end(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines. If they end too early, so does the answer, with a line that says it: no file is cut unseen."""
    try:
        yield from lines
    except Exception:
        log.exception("a file of the console could not be written to its end")
        yield "This file is not complete: its rows could not be read to the end.\r\n"
        raise


_OF_ROWS = ("status", "activity")
"""What narrows rows, and no figures."""
_OF_LOOKS = ("period", "from", "to", "who", "tag", "untagged", "list", "sender", "subject", "status", "activity")
