"""Who may see and do what in the console, as the host says it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

from werkzeug.wrappers import Response

from flask_mailtrack.scope import Scope

PERMISSIONS = ("view", "addresses", "export", "manage")
"""``view``: pages and figures. ``addresses``: whole addresses, and what people wrote. ``export``: files.
``manage``: every change."""

log: logging.Logger = logging.getLogger("flask_mailtrack.console")

_CURE = """\
    def access():
        return Viewer({"view", "addresses", "export", "manage"} if current_user.is_admin else set(), current_user.email)
    app.register_blueprint(mailtrack.console(access=access), url_prefix="/mailtrack")"""


_NAMED = "Viewer(permissions, name) from the access function, with the name of who is logged in"


class Viewer:
    """Somebody who looks at the console.

    :param permissions: any of :data:`PERMISSIONS`; without ``view`` nothing is shown.
    :param name: stands in the log of changes; at most 320 characters are kept. Forms are bound to the name;
        without one, to what the host's session says of who is logged in.
    :raises ValueError: a permission does not exist, or *permissions* is one string.
    """

    def __init__(self, permissions: Iterable[str], name: str = "") -> None:
        given = {permissions} if isinstance(permissions, str) else set(permissions)
        if isinstance(permissions, str) or not given <= set(PERMISSIONS):
            raise ValueError(f"permissions is {permissions!r}. Write a set of: {', '.join(PERMISSIONS)}.")
        self.permissions: frozenset[str] = frozenset(given)
        self.name: str = str(name)[:320]

    def may(self, permission: str) -> bool:
        """Return whether the viewer has a permission."""
        return permission in self.permissions and "view" in self.permissions


def _ended(answer: Any) -> str:
    """End a coroutine that nobody waits for, and return its kind."""
    close = getattr(answer, "close", None)
    if callable(close):
        close()
    return type(answer).__name__


NOBODY = Viewer(())
Access = Callable[[], "Viewer | Collection[str] | Response"]


class Gate:
    """Asks the host who looks, and at which mail. Whatever the host answers that is not understood closes the console.

    :param access: the host's function that says who looks.
    :param scope: the host's function that says which mail; without one, all mail.
    """

    def __init__(self, access: Access | None, scope: Callable[[], Scope | None] | None) -> None:
        self._access = access
        self._scope = scope
        self._warned = False
        self._missed = False

    def ask(self) -> tuple[Viewer, Scope | None] | Response:
        """Return who looks at which mail, or what the host answers instead, such as a redirect to its login page."""
        if self._access is None:
            return self._closed("has no access function")
        try:
            answer: Any = self._access()
            if inspect.isawaitable(answer):
                return self._closed(f"cannot wait for the access function, which is async ({_ended(answer)})")
            if isinstance(answer, Response):
                return answer
            if isinstance(answer, set | frozenset | list | tuple):
                answer = Viewer(answer)
            if not isinstance(answer, Viewer):
                return self._closed(f"does not understand {type(answer).__name__!r} from the access function")
            scope: Any = self._scope() if self._scope else None
            if inspect.isawaitable(scope):
                return self._closed(f"cannot wait for the scope function, which is async ({_ended(scope)})")
        except Exception:
            return self._closed("cannot ask who looks: a function of the app fails", failed=True)
        if scope is not None and not isinstance(scope, Scope):
            return self._closed(f"does not understand {type(scope).__name__!r} from the scope function")
        return answer, scope

    def miss_a_name(self) -> None:
        """Say once what the host should give: without a name or a session, viewers cannot be told apart."""
        if not self._missed:
            self._missed = True
            log.warning("The console cannot tell viewers apart, so they share their forms. Return %s.", _NAMED)

    def _closed(self, problem: str, failed: bool = False) -> tuple[Viewer, None]:
        if not self._warned:
            self._warned = True
            log.warning("The console %s, so every page answers 404. Write:\n%s", problem, _CURE, exc_info=failed)
        return NOBODY, None
