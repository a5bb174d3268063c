"""Which links work once: a redirect would write their secret down in clear, and a scanner could spend it.

Such a URL has a word (reset, confirm, invitation) and a secret. Neither is enough: ``/login`` is a page like
any other, and ``?key=`` may be a search. The host says nothing, and neither does what marketing adds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import parse_qsl, unquote, urlsplit

_WORD = re.compile(
    r"""reset|password|verif|confirm|activat|invit|recover|unlock|oob[_-]?code|magic[ _-]?link|passwordless
      | (?<![bv])log[ _-]?in(?![gks]) | sign[ _-]?in(?![egks]) | change[ _-]?e?mail | e?mail[ _-]?change
      | authenti | authori[sz] | opt[ _-]?in(?![a-z])
      | one[ _-]?time[ _-]?(?:pass|pin|code|link|log|sign|token|url|secret|key)
      | (?<![a-z0-9])(?:auth|otp|2fa|mfa|sso|magic|one[ _-]?time)(?![a-z0-9 _-])""",
    re.VERBOSE,
)
"""Matched loosely, wherever it stands: ``resetPassword``, ``confirmation_token``, ``change_email``."""
_SECRETS = frozenset(("token", "code", "key", "ticket", "hash", "sig", "signature", "otp", "secret", "jwt"))
_SECRET_NAME = re.compile(r"(?:token|ticket|secret|otp|jwt|hash|signature)$")
_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_RUN = re.compile(r"[A-Za-z0-9]{16,}|[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
_LETTER, _DIGIT = re.compile("[A-Za-z]"), re.compile("[0-9]")
_MARKETING = re.compile(r"utm_|mc_|_hs|(?:gcl|fbcl|msclk|dcl|gbra|wbra|ttcl|twcl|yclid)i?d?$|_gl$|_ga$")
"""Names of parameters of which nothing is read."""


def works_once(url: str) -> bool:
    """Say whether *url* looks like one that works once, in time that grows with its length.

    :param url: an http(s) URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets in what is no address
        return False
    fragment_path = ""
    queries = [parts.query]
    if parts.fragment.startswith(("/", "!/")):  # the route of a page that is one script
        fragment_path, _, query = parts.fragment.partition("?")
        queries.append(query)
    elif "=" in parts.fragment:
        queries.append(parts.fragment)
    segments = [unquote(segment) for segment in f"{parts.path}/{fragment_path}".split("/")]
    parameters = [pair for query in queries for pair in _parameters(query)]
    words = [*segments, *(text for pair in parameters for text in pair)]
    if not any(map(_says_so, words)):
        return False
    named = any(value and _names_a_secret(name) for name, value in parameters)
    return named or any(map(_has_a_run, words)) or _has_a_number_behind_a_word(segments)


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    pairs = parse_qsl(query.replace(";", "&"), keep_blank_values=True)
    return ((name, value) for name, value in pairs if not _MARKETING.match(name.lower()))


def _says_so(text: str) -> bool:
    return _WORD.search(text.lower()) is not None


def _names_a_secret(name: str) -> bool:
    pieces = _PIECE.findall(name)
    return bool(pieces) and (pieces[-1].lower() in _SECRETS or _SECRET_NAME.search(name.lower()) is not None)


def _has_a_run(text: str) -> bool:
    return any("-" in run or (_LETTER.search(run) and _DIGIT.search(run)) for run in _RUN.findall(text))


def _has_a_number_behind_a_word(segments: list[str]) -> bool:
    return any(number.isdecimal() and _says_so(before) for before, number in pairwise(segments))
