"""The pages. All of them work without JavaScript, and nothing but a POST changes anything."""

from __future__ import annotations

import shlex
import uuid
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, current_app, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from . import compose as composing
from .models import db, mailtrack

pages = Blueprint("pages", __name__)

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'self'"
)

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@pages.before_app_request
def only_from_here() -> None:
    """Refuse a POST that another site made a browser send. The routes of mailtrack mind themselves."""
    if request.method != "POST" or request.blueprint == "mailtrack":
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin", request.host_url)
    # Browsers say it in the first header; where they do not, the host is compared: a proxy may end TLS.
    foreign = site != "same-origin" if site else urlsplit(origin).netloc != request.host
    if foreign:
        abort(403, "This form was sent from another site.")


@pages.after_app_request
def harden(response: Response) -> Response:
    """Set the headers of all pages that are not mailtrack's or the mail's own."""
    if request.blueprint != "mailtrack":
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


@pages.app_errorhandler(HTTPException)
def error_page(error: HTTPException) -> tuple[str, int]:
    """Say what went wrong in words."""
    return render_template("error.html", error=error), error.code or 500


@pages.app_context_processor
def elsewhere() -> dict[str, str]:
    """Tell the pages if links in mails lead to another place than the one that is being looked at."""
    base = urlsplit(current_app.config["MAILTRACK_BASE_URL"])
    here = urlsplit(request.host_url)
    same_host = here.hostname == base.hostname or {here.hostname, base.hostname} <= _LOOPBACK
    if here.scheme == base.scheme and here.port == base.port and same_host:
        return {}
    origin = shlex.quote(f"{here.scheme}://{here.netloc}")
    port = f" -p {here.port}" if here.port else ""
    return {"cure": f"MAILTRACK_BASE_URL={origin} flask --app example_app run{port}"}


@pages.get("/")
def start() -> str:
    """Tell what this is, in a minute."""
    return render_template("start.html")


@pages.route("/compose", methods=["GET", "POST"])
def compose() -> str | tuple[str, int] | AnyResponse:
    """Write a mail and send it."""
    if request.method == "GET":
        return _compose(composing.Draft())
    draft = composing.Draft.of(request.form)
    try:
        letter = composing.send(draft)
    except composing.Unsendable as error:
        return _compose(draft, error), 422
    mailtrack.flush()
    first = db.session.get(mailtrack.models.Message, mailtrack.sent(letter)[0].id)
    # Measured as a campaign only, as the console can have it, a mail has no rows of its own.
    where = url_for(".sent", batch=first.batch_id) if first else url_for("mailtrack_mailbox.index")
    return redirect(where, 303)


@pages.get("/sent/<uuid:batch>")
def sent(batch: uuid.UUID) -> str:
    """Say what became of each copy of one mail, and where to go on."""
    model = mailtrack.models.Message
    rows = db.session.scalars(select(model).filter_by(batch_id=batch).order_by(model.id)).all()
    if not rows:
        abort(404)
    return render_template("sent.html", copies=rows, lists=current_app.config["MAILTRACK_LISTS"])


@pages.get("/shop/<slug>")
def shop(slug: str) -> str:
    """Where the links of the mails lead."""
    return render_template("shop.html", slug=slug, name=slug.replace("-", " ").capitalize())


@pages.get("/favicon.ico")
def favicon() -> AnyResponse:
    """Browsers ask for it unasked."""
    return redirect(url_for("static", filename="icon.svg"))


def _compose(draft: composing.Draft, error: composing.Unsendable | None = None) -> str:
    lists = current_app.config["MAILTRACK_LISTS"]
    return render_template("compose.html", draft=draft, error=error, lists=lists, templates=composing.TEMPLATES)
