"""The console as a host mounts it: one blueprint, closed unless the host says who may look."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flask import Blueprint, Request, abort, current_app, g, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, default_exceptions
from werkzeug.wrappers import Response

from flask_mailtrack.entrance import from_elsewhere, only_the_method_is_wrong
from flask_mailtrack.errors import ReportError
from flask_mailtrack.languages import reader_words
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.scope import Scope
from flask_mailtrack.seal import sealed
from flask_mailtrack.state import current_state

from . import campaign, campaigns, domains, inside, messages, overview, people, settings, suppressions, unsubscribes
from .access import Access, Gate
from .desk import NAME, Brand, Desk
from .forms import FIELD
from .route import Route

log: logging.Logger = logging.getLogger("flask_mailtrack.console")

_PAGES = (overview, campaigns, campaign, messages, people, unsubscribes, suppressions, domains, settings, inside)
ROUTES: tuple[Route, ...] = tuple(route for page in _PAGES for route in page.ROUTES)
"""Every page of the console, with the permission that it needs."""
_BODIES = {route.name: route.most_bytes for route in ROUTES}
_PLAIN_PAGES = {route.name: route.rule for route in ROUTES if "GET" in route.methods and "<" not in route.rule}
_STATIC = Path(__file__).parents[1] / "static"
_FILES = {"console.css": "text/css", "console.js": "text/javascript"}
_NEEDS = {route.name: route.needs for route in ROUTES} | {"static": "view"}
_PLAINLY = {
    404: Phrase("There is no such page."),
    405: Phrase("This page takes no form."),
    413: Phrase("The form is too long. Nothing was read."),
}
_REFUSED = Phrase("This was refused. Load the page again.")
_READS = ("GET", "HEAD", "OPTIONS")


class Console(Blueprint):
    """The console of an app: pages over its figures, messages, people, domains and settings.

    Register the console with a prefix of its own:
    ``app.register_blueprint(mailtrack.console(access=access), url_prefix="/mailtrack")``.

    :param access: the host's function that says who looks. The function takes nothing, and returns a set of
        ``view``, ``addresses``, ``export`` and ``manage``, or a :class:`~flask_mailtrack.console.access.Viewer` with
        such a set and a name, or a response, such as a redirect to the host's login page. Anything else, an
        exception, or no function closes the console: every route answers 404, and the log says so once.
    :param scope: the host's function that says which mail the viewer may see: a
        :class:`~flask_mailtrack.scope.Scope`, or ``None`` for all mail; default: all mail. If the function fails, or
        returns anything else, the console is closed.
    :param name: the name of the console; stands at the top, and in the title of each page.
    :param logo: the URL of a picture of the host's own, 28 pixels high.
    :param stylesheet: the URL of a style sheet of the host's own, which is loaded last. The sheet may set
        ``--mt-accent`` and ``--mt-font``.
    :param host: for an app with ``host_matching``: the host name under which the console is reached.
    """

    def __init__(
        self,
        access: Access | None = None,
        *,
        scope: Callable[[], Scope | None] | None = None,
        name: str = "Mail",
        logo: str = "",
        stylesheet: str = "",
        host: str = "",
    ) -> None:
        super().__init__(NAME, "flask_mailtrack", template_folder="templates")
        self._host = {"host": host} if host else {}
        self._gate = Gate(access, scope)
        self._brand = Brand(name, logo, stylesheet)
        self.before_request(self._enter)
        self.after_request(_sealed)
        self.register_error_handler(HTTPException, _refused)
        for code in default_exceptions:  # else a handler of the host for one code would come before ours
            self.register_error_handler(code, _refused)
        for route in ROUTES:
            self._add(route.rule, route.name, _guarded(route), route.methods)
        self._add("/static/<path:filename>", "static", _static, ("GET",))
        self.before_app_request(self._not_even_a_method)

    def _add(self, rule: str, name: str, view: Callable[..., ResponseReturnValue], methods: Sequence[str]) -> None:
        # Without redirects for slashes, which would tell of a page to those who may not see it.
        given: dict[str, Any] = {"strict_slashes": False, "merge_slashes": False} | self._host
        self.add_url_rule(rule, name, view, methods=methods, **given)

    def _not_even_a_method(self) -> ResponseReturnValue | None:
        """Answer 404 also to a method that a page does not know, or 405 would tell that there is a console."""
        if only_the_method_is_wrong(self):
            entry = self._gate.ask()
            if isinstance(entry, Response):
                return entry
            if not entry[0].may("view"):
                abort(404)
        return None

    def _enter(self) -> ResponseReturnValue | None:
        """Let nobody in whom the host does not know, and nobody change anything by another site's form."""
        # The host may have a context that outlives requests, with the desk of whoever came before.
        g.pop("mailtrack_desk", None)
        entry = self._gate.ask()
        if isinstance(entry, Response):
            return entry
        viewer, scope = entry
        name = (request.endpoint or "").rpartition(".")[2]
        if name not in _NEEDS or not viewer.may(_NEEDS[name]):
            abort(404)
        state = current_state()
        speech = reader_words("babel" in current_app.extensions, request.headers.get("Accept-Language", ""))
        reports = state.reports if scope is None else state.reports.within(scope)
        g.mailtrack_desk = desk = Desk(viewer, state, reports.briefly(), scope, speech, self._brand)
        if viewer.may("manage") and not desk.holder:
            self._gate.miss_a_name()
        if request.method not in _READS:
            sent = _token_in(request, _BODIES.get(name, 0), desk)
            foreign = from_elsewhere(request.headers, request.headers.get("Host", ""), alone=False)
            if foreign or not desk.forms.fits(sent, name, desk.holder):
                abort(400, desk.t("This form is too old, or was sent from another place. Load the page again."))
        return None


def _token_in(asked: Request, most: int, desk: Desk) -> str:
    """Return the token of a form, which is read no further than a form may be long."""
    asked.max_content_length = min(most, asked.max_content_length or most)
    try:
        return asked.form.get(FIELD, "")
    except RequestEntityTooLarge:
        size = most // 1_000_000
        told = desk.t("The file is too large: at most %(number)s MB are taken. Split the file.", number=size)
        abort(413, told if size else desk.t("The form is too long. Nothing was read."))


def _refused(error: HTTPException) -> ResponseReturnValue:
    """Say in words why there is no page. Who may not look gets the host's own answer, and so learns nothing."""
    desk: Desk | None = g.get("mailtrack_desk")
    if desk is None or error.response is not None:
        return _of_host(error)
    code = error.code or 500
    # What our views say is translated; what Werkzeug says by itself is English, and more than a reader needs.
    said = error.description if isinstance(error.description, Markup) else desk.say(_PLAINLY.get(code, _REFUSED))
    return desk.page("error.html", status=code, missing=code == 404, said=said, back=_page_of_form())


def _of_host(error: HTTPException) -> ResponseReturnValue:
    """Return what the host answers to an error outside the console."""
    for code in (error.code, None):
        handlers = current_app.error_handler_spec[None].get(code, {})
        for kind in type(error).__mro__:
            if kind in handlers:
                answer: ResponseReturnValue = current_app.ensure_sync(handlers[kind])(error)
                return answer
    return error


def _page_of_form() -> str:
    """Return the page whose form was refused; the overview, if that is not known."""
    name = (request.endpoint or "").rpartition(".")[2]
    page = next((each for each in (name, name.partition("_")[0]) if each in _PLAIN_PAGES), "overview")
    return page if request.method != "GET" else "overview"


def _static(filename: str) -> ResponseReturnValue:
    """Send a style sheet or a script of the package."""
    if filename not in _FILES:
        abort(404)
    return current_app.response_class((_STATIC / filename).read_bytes(), mimetype=_FILES[filename])


def _guarded(route: Route) -> Callable[..., ResponseReturnValue]:
    """Return the view of a route: what fails in it is logged, and told without details."""

    def view(**values: Any) -> ResponseReturnValue:
        desk: Desk = g.mailtrack_desk
        try:
            return route.view(desk, **values)
        except HTTPException:
            raise
        except ReportError as error:
            return desk.page("error.html", status=400, said=desk.cause(error))
        except Exception:
            log.exception("the page %s of the console fails", route.name)
            return desk.page("away.html", status=503)

    return view


def _sealed(response: Response) -> Response:
    """Return the answer with headers that stay. An answer of the host, such as to strangers, is the host's own."""
    return sealed(response) if "mailtrack_desk" in g else response
