"""A mail's HTML, made ready for a frame: nothing in it runs, nothing is fetched from outside, and its links work.

The browser does the guarding, by a policy that comes with the document: an origin of its own, no script, no form, no
frame. What is changed in the HTML is for the reader's convenience only.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# A link may open a tab, which is a page like any other.
SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
_POLICY = (
    f"sandbox {SANDBOX}; default-src 'none'; style-src 'unsafe-inline'; img-src {{images}}; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
_START = re.compile(
    r"\s{0,9}(?:<!doctype[^>]{0,200}>)?\s{0,9}(?:<html[^>]{0,999}>)?\s{0,9}(?:<head[^>]{0,999}>)?", re.I
)
_IMAGE = re.compile(r"(<img\b[^<>]*?\s)src(?=\s{0,9}=\s{0,9}[\"']?\s{0,9}(?:https?:|/))", re.IGNORECASE)


def policy(images: bool) -> str:
    """Return the content security policy of the document.

    :param images: whether pictures of this app are loaded, the open pixel among them.
    """
    return _POLICY.format(images="'self' data:" if images else "data:")


def framed(html: str, roots: Collection[str], here: str, images: bool) -> str:
    """Return the document.

    :param roots: where the addresses of the app lead in mails, such as ``https://links.example.com``.
    :param here: the path of the app, where it is reached now. The same addresses are asked here, so that nobody outside
        is asked. Scheme and host are the reader's own: behind a proxy the app may not know them.
    """
    for root in sorted(roots, key=len, reverse=True):
        before = r"(\s(?:href|src|background)\s{0,9}=\s{0,9}[\"']?\s{0,9})"
        there = re.compile(rf"{before}{re.escape(root)}(?:(/)|(?=[?#\"'\s>]))", re.I)
        html = there.sub(lambda found: f"{found[1]}{here}{found[2] or '/'}", html)
    if not images:  # the policy holds them back; without this the browser's console complains of each
        html = _IMAGE.sub(r"\1data-src", html)
    return _START.sub(r'\g<0><base target="_blank">', html, count=1)
