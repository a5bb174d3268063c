"""The token in each form, without which a POST changes nothing.

The token is signed for one viewer and one route, for some hours. No cookie of ours is needed. If the host has a CSRF
token of its own, as by Flask-WTF or SeaSurf, the form carries that one, too, and the host checks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

from flask import request, session
from itsdangerous import BadSignature, URLSafeTimedSerializer
from markupsafe import Markup

from flask_mailtrack.host_token import host_field

HOURS = 12
"""How long a form may stay open before it is sent."""
FIELD = "form_token"


_OF_SESSION = ("_user_id", "user_id", "username", "user")
"""What hosts keep in their session of who is logged in: Flask-Login, Flask-Security and Flask-AppBuilder the first."""


def holder_of(name: str) -> str:
    """Return for whom forms are signed, so that nobody can have another viewer send a form of their own.

    :param name: the viewer's. Without one, it is what the host's session or the login of the server says of the
        browser, as a hash; empty: nothing is known, and all viewers without a name share their forms.
    """
    return name or next((f"\0{_hash(each)}" for each in _known_of_browser() if each), "")


def _known_of_browser() -> Iterator[str]:
    yield str(getattr(session, "sid", None) or "")
    for key in _OF_SESSION:
        yield str(session.get(key) or "")
    yield request.headers.get("Authorization", "")
    yield str(request.environ.get("REMOTE_USER") or "")


def _hash(text: str) -> str:
    return blake2b(text.encode("utf-8", "replace"), digest_size=12, person=b"mailtrack-form").hexdigest()


class FormTokens:
    """Signs and checks the tokens of forms.

    :param secrets: the app's keys, the current one first.
    :param app_id: tells apps apart that share a key.
    """

    def __init__(self, secrets: Sequence[str | bytes], app_id: str) -> None:
        keys = [key.encode() if isinstance(key, str) else key for key in reversed(secrets)]
        self._serializer = URLSafeTimedSerializer(keys, salt=f"flask_mailtrack.console/{app_id}")

    def fields(self, route: str, viewer: str) -> Markup:
        """Return the hidden fields of a form that is sent to *route* by *viewer*."""
        token = self._serializer.dumps([route, viewer])
        return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, token) + host_field()

    def fits(self, token: str, route: str, viewer: str) -> bool:
        """Return whether a token was made for this route and viewer, not too long ago."""
        try:
            return bool(self._serializer.loads(token, max_age=HOURS * 3600) == [route, viewer])
        except BadSignature:
            return False
