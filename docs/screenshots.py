"""Makes the pictures of the README from the seeded example: ``python docs/screenshots.py``.

Needs the extra ``test`` and Chromium; ``CHROMIUM`` names another one than ``/usr/bin/chromium``.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright
from werkzeug.serving import make_server

from example_app import create_app

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1280, "height": 800}


def main() -> None:
    """Serve the example from a fresh folder, and take the overview in both schemes."""
    with tempfile.TemporaryDirectory() as folder:
        server = make_server("127.0.0.1", 0, create_app(instance_path=folder), threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"))
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport=SIZE, color_scheme=scheme)
                page.goto(f"http://127.0.0.1:{server.port}/mailtrack/?period=90d&step=week")
                page.screenshot(path=IMAGES / f"console-{scheme}.png")
            browser.close()
        server.shutdown()


if __name__ == "__main__":
    main()
