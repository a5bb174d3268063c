"""Everything that flask_mailtrack raises.

.. code-block:: text

    MailtrackError
    ├── ConfigError             a MAILTRACK_* key, or the order of set-up, is wrong; raised at start-up
    ├── NotInitialised          used with an app that has not seen ``init_app``
    ├── RewriteError            a body cannot be tracked without risk; the mail goes out as written
    ├── TokenError              a link was not signed by this app
    ├── SpoolError              nothing could be written to the local disk
    ├── DatabaseBusy            the host holds the only connection; our rows wait in the spool
    ├── StreamError             Redis is away, or not to be trusted; rows wait, or go another way
    │   └── StreamFull          it holds as much as it may; rows wait in the spool
    ├── UnknownList             a list that is not in MAILTRACK_LISTS; its message is not sent
    ├── UnknownTag              a tag that is retired, or not declared where any is; its message is not sent
    ├── SettingError            an operator's setting that does not exist, or cannot have the value; also a ValueError
    ├── DomainError             a tracking domain cannot be made, or not be removed; also a ValueError
    └── OptOutsUnavailable      a list message whose opt-outs cannot be read; never sent on hope
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DatabaseBusy",
    "DomainError",
    "MailtrackError",
    "NotInitialised",
    "OptOutsUnavailable",
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
    """The root: catch this to catch everything of ours."""


class ConfigError(MailtrackError):
    """A mistake of the programmer, found at start-up.

    :param code: stable identifier such as ``"E003"``; ``flask mailtrack check`` prints the same one.
    :param key: the configuration key, or the argument, that is wrong.
    :param problem: what is wrong, with the value where it is not a secret.
    :param cure: what to write instead, in one sentence.
    """

    def __init__(self, code: str, key: str, problem: str, cure: str) -> None:
        super().__init__(f"[{code}] {key}: {problem} {cure}")
        self.code = code
        self.key = key
        self.problem = problem
        self.cure = cure


class NotInitialised(MailtrackError):
    """The current app has no Mailtrack: ``init_app`` was not called for it."""


class RewriteError(MailtrackError):
    """A body cannot be rewritten with certainty, so it must go out as the author wrote it.

    :param reason: short machine-readable word, kept on the message row.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class TokenError(MailtrackError):
    """A token that this app did not sign, or that is damaged beyond reading.

    :param reason: why, in one word: ``long`` (too much text to look at), ``short`` (no token in it),
        ``version`` (not one that we ever wrote), ``key`` (of a secret that we do not have, or have no
        more), ``signature`` (not ours: another app, another kind of link, a forgery, damage),
        ``destination`` (a good token, but nobody knows any more where it led), or
        ``blocked`` (the host has switched the link off).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"token refused: {reason}")
        self.reason = reason


class SpoolError(MailtrackError):
    """The local journal could not take a record; the cause is chained."""


class DatabaseBusy(MailtrackError):
    """The host's transaction holds the only connection there is; writing now would commit it."""


class StreamError(MailtrackError):
    """Redis could not be asked, or may forget what it is given; the cause is chained."""


class StreamFull(StreamError):
    """The stream holds ``MAILTRACK_SINK_MAX`` entries: nobody moves them on fast enough."""


class UnknownList(MailtrackError, ValueError):
    """A list that ``MAILTRACK_LISTS`` does not name, so that nobody could be known to have left it.

    :param name: the list as it was written.
    :param nearest: the configured name that is most like it; empty if none is.
    """

    def __init__(self, name: str, nearest: str = "") -> None:
        cure = f"Did you mean {nearest!r}?" if nearest else "Add it there, or mend the name."
        super().__init__(f"{name!r} is not a list of MAILTRACK_LISTS. {cure}")
        self.name = name
        self.nearest = nearest


class UnknownTag(MailtrackError, ValueError):
    """A tag that is retired, or that nobody has declared where any tag is, so that its figures would be apart.

    :param name: the tag as it was written.
    :param nearest: the declared tag that is most like it; empty if none is.
    :param retired: since when and by whom it is retired; empty if it is not.
    """

    def __init__(self, name: str, nearest: str = "", retired: str = "") -> None:
        cure = f"Did you mean {nearest!r}?" if nearest else "Write: flask mailtrack tags add, or mend the name."
        problem = f"is a retired tag, since {retired}." if retired else "is not a declared tag."
        super().__init__(f"{name!r} {problem} {cure}")
        self.name = name
        self.nearest = nearest
        self.retired = retired


class SettingError(MailtrackError, ValueError):
    """An operator's setting does not exist, or cannot have this value or scope; the text names what can."""


class DomainError(MailtrackError, ValueError):
    """A tracking domain cannot be made, changed or removed as asked; the text says why, and what to do."""


class OptOutsUnavailable(MailtrackError):
    """The opt-outs of a list could not be read, so its message was not sent to anybody.

    The one failure of ours that stops a mail: sending to somebody who has unsubscribed is worse
    than sending later. The cause is chained.
    """
