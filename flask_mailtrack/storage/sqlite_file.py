"""The file of an SQLite database: gone, or another one, while connections go on writing into what has no name."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.exc import ResourceClosedError


@dataclass
class SqliteFile:
    """Watches the file behind an engine; of a database that is no such file there is nothing to see."""

    engine: Engine
    _inode: int = field(default=0, init=False)

    @property
    def path(self) -> str:
        """Where it is; empty if there is none."""
        path = self.engine.url.database or ""
        usual = self.engine.dialect.name == "sqlite" and path != ":memory:" and not path.startswith("file:")
        return path if usual else ""

    @property
    def vanished(self) -> str:
        """Say that it is not there; empty if it is, or there is none."""
        return f"the database {self.path} is not there" if self.path and not os.path.exists(self.path) else ""

    def look(self) -> None:
        """Have nothing written into a file that is gone, or that another one has replaced.

        :raises ResourceClosedError: it was there, and is gone.
        """
        if not self.path:
            return
        try:
            inode = os.stat(self.path).st_ino
        except OSError as error:
            self.engine.dispose()
            if self._inode:
                raise ResourceClosedError(self.vanished) from error
            return
        if self._inode not in (0, inode):
            self.engine.dispose()
        self._inode = inode
