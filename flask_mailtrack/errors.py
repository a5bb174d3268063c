"""The exceptions that flask_mailtrack raises.

.. code-block:: text

    MailtrackError
    ├── ConfigError             a MAILTRACK_* key, or the order of set-up, is wrong; raised at start-up
    ├── NotInitialised          ``init_app`` was not called for the current app
    ├── RewriteError            a body cannot be tracked without risk; the mail goes out as written
    ├── TokenError              a link was not signed by this app
    ├── SpoolError              nothing could be written to the local disk
    ├── DatabaseBusy            the host holds the only connection; our rows wait in the spool
    ├── StreamError             Redis is away, or not to be trusted; rows wait, or take another way
    │   └── StreamFull          Redis holds as many rows as it may; further rows wait in the spool
    ├── UnknownList             a list is not in MAILTRACK_LISTS; its message is not sent
    ├── UnknownTag              a tag is retired, or is not among the declared tags; its message is not sent
    ├── SettingError            an operator's setting does not exist, or cannot have the value; also a ValueError
    ├── DomainError             a tracking domain cannot be made or removed; also a ValueError
    ├── ReportError             a report cannot be made as asked; also a ValueError
    ├── KeyNotClaimed           a send key cannot be claimed; the message is not sent
    └── OptOutsUnavailable      the opt-outs of a list message cannot be read; the message is not sent
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DatabaseBusy",
    "DomainError",
    "KeyNotClaimed",
    "MailtrackError",
    "NotInitialised",
    "OptOutsUnavailable",
    "ReportError",
    "RewriteError",
    "SettingError",
    "SpoolError",
    "StreamError",
    "StreamFull",
    "TokenError",
    "UnknownList",
    "UnknownTag",
]


class MailtrackError(Exception):
    """The base class of all exceptions of this package."""


class ConfigError(MailtrackError):
    """The configuration or the set-up is wrong. Raised at start-up.

    :param code: stable identifier such as ``"E106"``. A traceback ends at the command that explains the code.
    :param key: the wrong configuration key or argument.
    :param problem: a sentence about the mistake, with the value unless the value is a secret.
    :param cure: a sentence that says how to mend it.
    """

    def __init__(self, code: str, key: str, problem: str, cure: str) -> None:
        super().__init__(f"[{code}] {key}: {problem} {cure}")
        # A note, because an app that does not start has no commands, and a page on the web may be out of reach.
        self.add_note(f"More about {code}: python -m flask_mailtrack explain {code}")
        self.code = code
        self.key = key
        self.problem = problem
        self.cure = cure


class NotInitialised(MailtrackError):
    """The current app has no Mailtrack, because ``init_app`` was not called for this app."""

    @classmethod
    def of(cls, app: object) -> NotInitialised:
        """Return the error about *app*, with its cure."""
        cure = "call mailtrack.init_app(app) after mail.init_app(app) and db.init_app(app)."
        return cls(f"{app!r} is not set up: {cure}")


class RewriteError(MailtrackError):
    """A body cannot be rewritten with certainty, so the mail goes out as the author wrote it.

    :param reason: a short machine-readable word, kept on the message row.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class TokenError(MailtrackError):
    """A token was not signed by this app, or is damaged beyond reading.

    :param reason: one word: ``long`` (too much text to look at), ``short`` (no token in the text),
        ``version`` (no version that this package ever wrote), ``key`` (a secret that is not in the list, or no
        longer), ``signature`` (another app, another kind of link, a forgery, or damage),
        ``destination`` (a good token, but its destination is lost), or
        ``blocked`` (the host has switched the link off).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"token refused: {reason}")
        self.reason = reason


class SpoolError(MailtrackError):
    """The local journal could not take a record. The cause is chained."""


class DatabaseBusy(MailtrackError):
    """The host's transaction holds the only connection. To write now would commit that transaction."""


class StreamError(MailtrackError):
    """Redis could not be asked, or may forget rows. The cause is chained."""


class StreamFull(StreamError):
    """The stream holds ``MAILTRACK_SINK_MAX`` entries, because they are not moved on fast enough."""


class UnknownList(MailtrackError, ValueError):
    """The list is not in ``MAILTRACK_LISTS``. The opt-outs of a misspelt list would not be found.

    :param name: the list as it was written.
    :param nearest: the most similar configured name; empty if no name is similar.
    """

    def __init__(self, name: str, nearest: str = "") -> None:
        cure = f"Did you mean {nearest!r}?" if nearest else "Add the list there, or correct the name."
        super().__init__(f"{name!r} is not a list of MAILTRACK_LISTS. {cure}")
        self.name = name
        self.nearest = nearest


class UnknownTag(MailtrackError, ValueError):
    """The tag is retired, or is not among the declared tags. A misspelt tag would split the figures.

    :param name: the tag as it was written.
    :param nearest: the most similar declared tag; empty if no tag is similar.
    :param retired: the time and the person of its retirement; empty if the tag is not retired.
    """

    def __init__(self, name: str, nearest: str = "", retired: str = "") -> None:
        cure = f"Did you mean {nearest!r}?" if nearest else "Run: flask mailtrack tags add, or correct the name."
        problem = f"is a retired tag, since {retired}." if retired else "is not a declared tag."
        super().__init__(f"{name!r} {problem} {cure}")
        self.name = name
        self.nearest = nearest
        self.retired = retired


class SettingError(MailtrackError, ValueError):
    """An operator's setting does not exist, or cannot have this value or scope. The text names valid ones."""


class DomainError(MailtrackError, ValueError):
    """A tracking domain cannot be made, changed or removed as asked. The text gives the reason and the cure."""


class ReportError(MailtrackError, ValueError):
    """A report cannot be made as asked; the text has the value, and what to write instead."""


class OptOutsUnavailable(MailtrackError):
    """The opt-outs of a list could not be read, so its message was not sent to anybody.

    This failure stops a mail, because a mail to somebody who has unsubscribed is worse than a late mail.
    The cause is chained.
    """


class KeyNotClaimed(MailtrackError):
    """A send key could not be claimed, so its message was not sent to anybody.

    This failure stops a mail, because the host has asked for one copy, and a second one may be on its way.
    The cause is chained.

    :param key: the send key.
    :param problem: what stood in the way.
    :param cure: a sentence that says what to do.
    """

    def __init__(self, key: str, problem: str, cure: str) -> None:
        super().__init__(f"The send key {key!r} cannot be claimed, so nothing was sent: {problem}. {cure}")
        self.key: str = key
        self.problem: str = problem
        self.cure: str = cure

    def __reduce__(self) -> tuple[type[KeyNotClaimed], tuple[str, str, str]]:
        return type(self), (self.key, self.problem, self.cure)  # a worker hands it to its queue by pickle


STOPPING = (KeyNotClaimed, OptOutsUnavailable, UnknownList, UnknownTag)
"""The exceptions that stop a mail. Whatever else fails in tracking, the mail goes out."""
