"""The host's own token against forged forms, which a form of ours carries, too, so that the host lets it through."""

from __future__ import annotations

from flask import current_app
from markupsafe import Markup

_WTF = ("WTF_CSRF_FIELD_NAME", "csrf_token")
_SEASURF = ("CSRF_COOKIE_NAME", "_csrf_token")
"""The key of the configuration that names the host's field, and the name of the field by default."""


def host_field() -> Markup:
    """Return the hidden field with the token of Flask-WTF or SeaSurf; empty: the host has neither."""
    make = current_app.jinja_env.globals.get("csrf_token")
    if not callable(make):
        return Markup("")
    name = current_app.config.get(*(_WTF if "csrf" in current_app.extensions else _SEASURF))
    return Markup('<input type="hidden" name="{}" value="{}">').format(name, make())
