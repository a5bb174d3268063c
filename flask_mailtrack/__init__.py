"""First-party e-mail tracking for Flask: opens, clicks and unsubscribes, in your own database."""

try:
    import fcntl  # noqa: F401 - before the modules that need its locks, which would say so less clearly
except ImportError as _error:
    raise ImportError(
        "flask_mailtrack runs on Linux, macOS and other POSIX systems, as its journal needs their file locks. "
        "On Windows, run the app in WSL 2 or in a container."
    ) from _error

from .console.access import Viewer
from .extension import Mailtrack
from .scope import Scope

__all__ = ["Mailtrack", "Scope", "Viewer"]
