"""What an operator decides while the app runs: the part of :class:`~flask_mailtrack.Mailtrack` that takes no mail."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .administration.operator_settings import OperatorSettings
from .administration.tags import Tags
from .administration.tracking_domains import Domains
from .state import State


class Governed(ABC):
    """Switches, tags and tracking domains."""

    @abstractmethod
    def state(self) -> State:
        """Return what the current app has."""

    @property
    def settings(self) -> OperatorSettings:
        """The switches that an operator turns while the app runs, of the current app.

        :raises NotInitialised: it has not been set up.
        """
        return self.state().administration.settings

    @property
    def domains(self) -> Domains:
        """The tracking domains of the current app.

        :raises NotInitialised: it has not been set up.
        """
        return self.state().administration.domains

    @property
    def tags(self) -> Tags:
        """The tags that mail may carry, of the current app.

        :raises NotInitialised: it has not been set up.
        """
        return self.state().administration.tags
