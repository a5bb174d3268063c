"""Placeholders in the host's own pages, where nobody replaces them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Flask, Response, current_app, request

from flask_mailtrack.errors import ConfigError

log: logging.Logger = logging.getLogger("flask_mailtrack.hit")

_TEXT = ("text/", "application/json", "application/javascript", "application/xml", "application/xhtml+xml")
_PROBLEM = "holds a placeholder, which is filled in only in a mail."
_CURE = "In a page, call mailtrack.unsubscribe_url(address, list_id) or mailtrack.preferences_url(address)."


def watch(app: Flask, holds: Callable[[bytes], bool]) -> None:
    """Look for placeholders in what *app* answers: under ``debug`` and ``TESTING`` they raise, else they are logged.

    A streamed response, or one that passes through as a file does, is not read.

    :param holds: tells whether a page has a placeholder in it.
    """

    def look(response: Response) -> Response:
        if _is_read(response) and holds(response.get_data()):
            page = f"the page of {request.endpoint or request.path!r}"
            if current_app.debug or current_app.testing:
                raise ConfigError("E170", page, _PROBLEM, _CURE)
            log.error("[E170] %s: %s %s", page, _PROBLEM, _CURE)
        return response

    # The first that is registered is the last that is called: it sees what others have made of the response.
    app.after_request(look)


def _is_read(response: Response) -> bool:
    plain = response.is_sequence and not response.direct_passthrough and not response.content_encoding
    return plain and (response.mimetype or "").startswith(_TEXT)
