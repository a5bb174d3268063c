"""The thresholds between machines and people: the numbers behind the verdicts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds that ``MAILTRACK_THRESHOLDS`` may change. Zero switches a sign off.

    All are seconds, except :attr:`min_chrome`. The defaults come from scanners that were watched at work;
    https://github.com/warmbly/warmbly/issues/410 and mautic's issues 9798 and 16263 describe some.
    """

    instant: float = 3
    """Time after sending in which no person can have reacted yet."""
    open_window: float = 60
    """Time after sending in which an open is a weak sign of a machine."""
    click_window: float = 30
    """The same for a click. It is shorter, because people who wait for a mail click at once."""
    probable: float = 600
    """Time after sending in which a filter's network is a weak sign. People browse from such networks, too."""
    burst: float = 5
    """Time in which two links of a message from one address are a machine's."""
    sweep: float = 10
    """Time in which nearly all links of a message, from any addresses, are a machine's."""
    honeypot: float = 10
    """Time before and after a hit on the hidden link in which clicks are a machine's."""
    shadow: float = 60
    """Time after a person's click in which the same link from another address and system is a scanner's second look."""
    min_chrome: float = 100
    """Major version below which Chrome is a weak sign. Scanners invent versions from 60 to 99."""


DEFAULTS = Thresholds()
