"""Headers of the operators' pages that no hook of the host can weaken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response as BaseResponse

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}
"""The headers of a page."""


class SealedResponse(Response):
    """An answer with headers that stay, whatever a host sets for its own pages, such as a wider policy."""

    seal: Mapping[str, str] = PAGE

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """Return the headers that are sent, with ours on top."""
        headers = super().get_wsgi_headers(environ)
        for name, value in self.seal.items():
            headers[name] = value
        headers.pop("Content-Security-Policy-Report-Only", None)
        return headers


def framed(html: str, headers: Mapping[str, str]) -> SealedResponse:
    """Return somebody else's HTML, to be shown in a frame of a page and nowhere else.

    :param headers: what the HTML must come with, a policy among them.
    """
    answer = SealedResponse(html)
    answer.seal = {**PAGE, "X-Frame-Options": "SAMEORIGIN", **headers}
    return answer


def sealed(response: BaseResponse) -> Response:
    """Return the answer with headers that stay."""
    if isinstance(response, SealedResponse):
        return response
    return cast(Response, SealedResponse.force_type(response))
