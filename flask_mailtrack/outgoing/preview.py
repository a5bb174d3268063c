"""What tracking would change in a body, for people to look at before they send it."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from flask_mailtrack.destination import host_of, is_public, is_well_formed
from flask_mailtrack.errors import RewriteError
from flask_mailtrack.storage.switch_status import SwitchStatus

from .rewriting import rewrite


class Change(NamedTuple):
    """One ``href`` of the source."""

    line: int
    """Counted from 1."""
    before: str
    """Its value, as the author wrote it; a placeholder of ours is replaced by a link like the recipient's."""
    after: str
    """The tracked URL; empty if the link is left alone."""
    reason: str
    """Why it is left alone; empty if it is tracked."""
    note: str = ""
    """What is odd about where it leads: ``malformed``, ``unreachable``, or both."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of a body."""

    changes: tuple[Change, ...]
    pixel: bool
    """Whether it would get a pixel."""
    failure: RewriteError | None
    """Why it would go out as written."""
    staying: tuple[str, ...] = ()
    """The placeholders that would reach the reader as they are."""
    dead_end: bool = False
    """It is a list mail, and no link in it leads out of the list."""
    switches: tuple[SwitchStatus, ...] = ()
    """What is switched on and off for it, and by whom."""


def changes_of(source: str, template: rewrite.Template, urls: list[str]) -> Iterator[Change]:
    """Yield each link of *source* in order.

    :param urls: what stands for each link of *template*.
    """
    lines = [0]
    while (end := source.find("\n", lines[-1])) >= 0:
        lines.append(end + 1)
    links = template.links
    tracked = [(p.offset, source[p.offset : p.end], urls[p.link], "", links[p.link].url) for p in template.places]
    alone = [(s.offset, s.url, "", s.reason, s.url) for s in template.skipped]
    for offset, before, after, reason, url in sorted(tracked + alone):
        yield Change(bisect.bisect_right(lines, offset), before, after, reason, _note(url))


def _note(url: str) -> str:
    """Say what is odd about an http(s) address; a link is tracked and kept byte for byte all the same."""
    if not url[:8].lower().startswith(("http://", "https://")):
        return ""
    odd = {"malformed": not is_well_formed(url), "unreachable": not is_public(host_of(url))}
    return ", ".join(word for word, holds in odd.items() if holds)
