"""Where machines end and people begin: the numbers behind the verdicts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What ``MAILTRACK_THRESHOLDS`` may change. Zero switches a sign off.

    All are seconds, but for :attr:`min_chrome`. The defaults are those of scanners that were watched at
    work; https://github.com/warmbly/warmbly/issues/410 and mautic's issues 9798 and 16263 tell of some.
    """

    instant: float = 3
    """After sending: no person can have reacted yet."""
    open_window: float = 60
    """After sending: an open is a weak sign of a machine."""
    click_window: float = 30
    """The same for a click; shorter, since people who wait for a mail click at once."""
    probable: float = 600
    """After sending: to come from a filter's network, where also people browse, is a weak sign."""
    burst: float = 5
    """In which one address follows two links of a message: a machine did both."""
    sweep: float = 10
    """In which nearly all links of a message are followed, from wherever: a machine did it all."""
    honeypot: float = 10
    """Before and after the hidden link was followed: what was clicked, a machine clicked."""
    shadow: float = 60
    """After a person's click: the same link from another address and system is a scanner's second look."""
    min_chrome: float = 100
    """Major version below which Chrome is a weak sign: scanners invent 60 to 99."""


DEFAULTS = Thresholds()
