"""Somebody who looks at the console of a site: pages as texts, and forms that are filled in as a browser does."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import lxml.html
from conftest import Site
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_mailtrack.console.access import Viewer

ALL = ("view", "addresses", "export", "manage")
PREFIX = "/mt"


class Visitor:
    """A client, and what the host says of who sits at it, which a test may change.

    :param access: in place of the permissions.
    """

    def __init__(
        self,
        site: Site,
        permissions: Collection[str] = ALL,
        *,
        name: str = "",
        scope: Any = None,
        access: Callable[[], Any] | None = None,
        prefix: str = PREFIX,
        **options: Any,
    ) -> None:
        self.permissions: Collection[str] = permissions
        self.name = name
        self.scope = scope
        self.prefix = prefix
        self.client: FlaskClient = site.app.test_client()
        asked = access or (lambda: Viewer(self.permissions, self.name))
        console = site.mailtrack.console(access=asked, scope=lambda: self.scope, **options)
        site.app.register_blueprint(console, url_prefix=prefix)

    def get(self, path: str, status: int = 200, **more: Any) -> str:
        """Return a page of the console."""
        return self._text(self.client.get(self.prefix + path, **more), status)

    def submit(self, page: str, action: str, status: int = 303, button: str = "", **fields: str | None) -> str:
        """Fill in the form of a page and send it; return the page that follows, or where the answer leads.

        :param action: how the path of the form ends.
        :param button: how the button reads, if there are several such forms.
        :param fields: what is changed; ``None`` leaves a field out, as an empty checkbox does.
        """
        given = self.fields(page, action, button) | fields
        sent = {name: value for name, value in given.items() if value is not None}
        answer = self.client.post(given_action(given), data={n: v for n, v in sent.items() if n != "@action"})
        return self._text(answer, status)

    def fields(self, page: str, action: str, button: str = "") -> dict[str, Any]:
        """Return what a form of a page sends if nobody touches it."""
        tree = lxml.html.fromstring(self.get(page))
        found = [
            form
            for form in tree.forms
            if (form.action or "").split("?")[0].endswith(action)
            and form.method == "POST"
            and (not button or button in form.text_content())
        ]
        assert found, f"no form {action} on {page}"
        sent: dict[str, Any] = {}
        for name, value in found[0].form_values():
            before = sent.get(name)
            sent[name] = value if before is None else [*(before if isinstance(before, list) else [before]), value]
        return sent | {"@action": found[0].action}

    def _text(self, answer: TestResponse, status: int) -> str:
        text = answer.get_data(as_text=True)
        assert answer.status_code == status, (answer.status_code, words(text)[:600])
        return str(answer.headers["Location"]) if 300 <= status < 400 else text


def given_action(fields: dict[str, Any]) -> str:
    """Return where a form is sent."""
    return str(fields["@action"])


def words(html: str) -> str:
    """Return what a reader reads of a page."""
    return re.sub(r"\s+", " ", " ".join(lxml.html.fromstring(html).itertext())).strip()
