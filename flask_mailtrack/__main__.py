"""``python -m flask_mailtrack``: the commands that need no app that starts."""

from __future__ import annotations

import click

from .commands.explain import explain
from .commands.first_steps import init

main: click.Group = click.Group("flask_mailtrack", help="The first steps, and the meaning of a code.")
main.add_command(init)
main.add_command(explain)

if __name__ == "__main__":
    main(prog_name="python -m flask_mailtrack")
