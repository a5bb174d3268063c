"""The mailbox of one app: whether it is open, and the mails that come."""

from __future__ import annotations

import logging
import threading
import weakref

from flask import Blueprint, Flask, abort, current_app

from flask_mailtrack.outgoing.dispatched import Dispatched, listen

from .letterbox import Letterbox

log: logging.Logger = logging.getLogger("flask_mailtrack.mailbox")

NAME = "mailtrack_mailbox"
"""Of the blueprint, and the key in ``app.extensions``."""


class Post:
    """The mailbox of one app.

    :param force: whether it is open without ``debug`` and ``TESTING``, too.
    """

    def __init__(self, app: Flask, force: bool, prefix: str, blueprint: Blueprint) -> None:
        self._app = weakref.ref(app)
        self._box: Letterbox | None = None
        self._lock = threading.Lock()
        self._force = force
        self._warned = False
        self.prefix: str = prefix.rstrip("/")
        self.blueprint: Blueprint = blueprint
        self._held = listen(app, self.is_open, self.hear)

    @property
    def box(self) -> Letterbox:
        """The kept mails."""
        with self._lock:
            app = self._app()
            if self._box is None and app is not None:
                self._box = Letterbox.of(app)
            return self._box  # type: ignore[return-value]

    def is_open(self) -> bool:
        """Say whether the mailbox is there. The answer may change as long as the app is being configured."""
        app = self._app()
        return app is not None and (self._force or app.debug or app.testing)

    def hear(self, mail: Dispatched) -> None:
        """Keep a mail that has just left."""
        self.box.keep(mail)

    def refuse(self) -> None:
        """Answer 404, and say once in the log how to open the mailbox."""
        if not self._warned:
            self._warned = True
            log.warning(
                "%s is closed: the mailbox is open under flask --debug and TESTING only. "
                "mailtrack.mailbox(force=True) opens it everywhere, to whoever reaches it.",
                self.prefix or "/",
            )
        abort(404)


def set_up(app: Flask, force: bool, prefix: str, blueprint: Blueprint) -> None:
    """Give *app* its mailbox.

    :param prefix: where the pages of *blueprint* are.
    """
    app.extensions[NAME] = Post(app, force, prefix, blueprint)
    if force and not app.debug and not app.testing:
        log.warning("the mailbox at %s is open by force: whoever reaches it reads all mail", prefix or "/")


def post() -> Post:
    """Return the mailbox of the current app."""
    found: Post = current_app.extensions[NAME]
    return found
