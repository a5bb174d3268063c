"""What comes in at the operators' pages: from which site a form was sent, and with which method somebody asks."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from flask import Blueprint, current_app, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, MethodNotAllowed


def from_elsewhere(headers: Headers, host: str, *, alone: bool) -> bool:
    """Return whether another site made a browser send this request.

    Fetch Metadata says so in ``Sec-Fetch-Site``. Older browsers, and all on plain HTTP, send only ``Origin``. Of it the
    name is compared: behind a proxy that ends TLS, the scheme is another one here than there. A page of another site
    cannot set ``X-Forwarded-Host`` in the reader's browser, so that header may name the host, too.

    :param host: the header ``Host``, as it came.
    :param alone: whether nothing else guards the form. Beside a token this is a second fence, and must not keep an
        operator out who is behind a proxy that passes an inner name, with which nothing can be compared. Without a
        token such a form is refused, and so is one of another port, where two ports are known.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    if not headers.get("Origin"):
        return False
    origin = _place(headers["Origin"])
    named = (host, headers.get("X-Forwarded-Host", "").rpartition(",")[2].strip())
    ours = [place for place in map(_place, (f"//{each}" for each in named if each)) if place]
    if alone:
        return origin is None or not any(_is_same(origin, place) for place in ours)
    known = all(_is_public(place.hostname or "") for place in ours)
    return origin is not None and known and origin.hostname not in [place.hostname for place in ours]


def only_the_method_is_wrong(blueprint: Blueprint) -> bool:
    """Return whether the request would lead to a page of *blueprint*, if it had another method."""
    error = request.routing_exception
    routes = current_app.create_url_adapter(request)
    if not isinstance(error, MethodNotAllowed) or not error.valid_methods or routes is None:
        return False
    try:
        endpoint, _ = routes.match(method=next(iter(error.valid_methods)))
    except HTTPException:
        return False
    return current_app.blueprints.get(endpoint.rpartition(".")[0]) is blueprint


def _place(url: str) -> SplitResult | None:
    """Return a URL in its parts; ``None``: it names no host."""
    try:
        place = urlsplit(url)
        return place if place.hostname and place.port != 0 else None
    except ValueError:  # of the name, or of the port
        return None


def _is_same(origin: SplitResult, place: SplitResult) -> bool:
    # A proxy may leave out the port at which it is reached, but gives none that is not there.
    return origin.hostname == place.hostname and (origin.port == place.port or None in (origin.port, place.port))


def _is_public(name: str) -> bool:
    """Return whether a name may be known outside: it has dots, and is no address."""
    return "." in name and ":" not in name and not name.rpartition(".")[2].isdigit()
