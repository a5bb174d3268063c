"""First-party e-mail tracking for Flask: opens, clicks and unsubscribes, in your own database."""

from .extension import Mailtrack

__all__ = ["Mailtrack"]
