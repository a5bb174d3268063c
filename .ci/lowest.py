"""Write the lowest version of each run-time dependency that pyproject.toml allows into a file for pip."""

import re
import sys
import tomllib
from pathlib import Path

EXTRAS = ("geo", "ua", "redis", "domains", "mailman", "relay", "services", "metrics", "webhooks")

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
needed = [*project["dependencies"], *(each for extra in EXTRAS for each in project["optional-dependencies"][extra])]
pins = [re.sub(r"^([\w.-]+)(\[\w+\])?>=([\d.]+)$", r"\1==\3", line) for line in needed]
Path(sys.argv[1]).write_text("\n".join(pins) + "\n", encoding="utf-8")
