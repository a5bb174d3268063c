"""The console as a host mounts it: one blueprint, closed unless the host says who may look."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Blueprint, abort, current_app, g, request
from flask import Response as FlaskResponse
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from flask_mailtrack.errors import ReportError
from flask_mailtrack.languages import reader_words
from flask_mailtrack.scope import Scope
from flask_mailtrack.state import current_state

from . import campaigns, domains, inside, messages, overview, people, settings, suppressions, unsubscribes
from .access import Access, Gate
from .desk import NAME, Brand, Desk
from .forms import FIELD, from_elsewhere
from .route import Route

log: logging.Logger = logging.getLogger("flask_mailtrack.console")

_PAGES = (overview, campaigns, messages, people, unsubscribes, suppressions, domains, settings, inside)
ROUTES: tuple[Route, ...] = tuple(route for page in _PAGES for route in page.ROUTES)
"""Every page of the console, with the permission that it needs."""
_NEEDS = {route.name: route.needs for route in ROUTES} | {"static": "view"}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}


class SealedResponse(FlaskResponse):
    """An answer whose headers no hook of the host can weaken, such as a wider policy for the host's own pages."""

    seal: dict[str, str] = _HEADERS

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """Return the headers that are sent, with ours on top."""
        headers = super().get_wsgi_headers(environ)
        for name, value in self.seal.items():
            headers[name] = value
        headers.pop("Content-Security-Policy-Report-Only", None)
        return headers


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
    """

    def __init__(
        self,
        access: Access | None = None,
        *,
        scope: Callable[[], Scope | None] | None = None,
        name: str = "Mail",
        logo: str = "",
        stylesheet: str = "",
    ) -> None:
        super().__init__(
            NAME, "flask_mailtrack", template_folder="templates", static_folder="static", static_url_path="/static"
        )
        self._gate = Gate(access, scope)
        self._brand = Brand(name, logo, stylesheet)
        self.before_request(self._enter)
        self.after_request(_sealed)
        self.register_error_handler(HTTPException, _refused)
        for route in ROUTES:
            self.add_url_rule(route.rule, route.name, _guarded(route), methods=route.methods)

    def _enter(self) -> ResponseReturnValue | None:
        """Let nobody in whom the host does not know, and nobody change anything by another site's form."""
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
        g.mailtrack_desk = desk = Desk(viewer, state, reports, scope, speech, self._brand)
        if request.method == "POST":
            sent = request.form.get(FIELD, "")
            if from_elsewhere(request.headers, request.host_url) or not desk.forms.fits(sent, name, viewer.name):
                abort(400, desk.t("This form is too old, or was sent from another place. Load the page again."))
        return None


def _refused(error: HTTPException) -> ResponseReturnValue:
    """Say in words why there is no page. Who may not look learns nothing from it."""
    desk: Desk | None = g.get("mailtrack_desk")
    if desk is None or error.response is not None:
        return error
    return desk.page("error.html", status=error.code or 500, error=error)


def _guarded(route: Route) -> Callable[..., ResponseReturnValue]:
    """Return the view of a route: what fails in it is logged, and told without details."""

    def view(**values: Any) -> ResponseReturnValue:
        desk: Desk = g.mailtrack_desk
        try:
            return route.view(desk, **values)
        except HTTPException:
            raise
        except ReportError as error:
            return desk.page("error.html", status=400, error=error)
        except Exception:
            log.exception("the page %s of the console fails", route.name)
            return desk.page("away.html", status=503)

    return view


def _sealed(response: FlaskResponse) -> FlaskResponse:
    """Return the answer with headers that stay."""
    sealed: Any = response if isinstance(response, SealedResponse) else SealedResponse.force_type(response)
    sealed.direct_passthrough = response.direct_passthrough
    return sealed  # type: ignore[no-any-return]
