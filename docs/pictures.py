"""Make the pictures of the README from real runs: the comparison, light and dark.

Run it after a change of the look: ``make demo``, then ``.venv/bin/python docs/pictures.py``. It
needs playwright and a Chromium (another one than the usual: ``CHROMIUM=/path/to/it``).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from mlops_nb.display import view_comparison
from mlops_nb.display.html import NOTEBOOK_COLUMNS
from mlops_nb.store import Store

HERE = Path(__file__).parent
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SHARPNESS = 2  # pixels of the picture for one of the page
WIDEST = 1400


def photograph(page: Page, html: str, path: Path) -> None:
    """Save a picture of what an HTML page shows, cut to its content."""
    page.set_content(html)
    # As wide as the widest part, so that nothing is cut off and no empty border is left.
    content = page.locator("body > div")
    page.evaluate("document.body.style.cssText = 'width: max-content; margin: 20px'")
    box = content.bounding_box()
    if box is None:
        message = "the page has nothing to show"
        raise SystemExit(message)
    width = min(box["x"] + box["width"] + 20, WIDEST)
    height = box["y"] + box["height"] + 20
    page.screenshot(
        path=path, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height}
    )


def main() -> None:
    """Open the store that ``make demo`` filled, and photograph its table in both themes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="output/.mlops", help="a store with runs")
    parser.add_argument("--run", default="demo", help="the run whose children are compared")
    parser.add_argument("--to", type=Path, default=HERE, help="folder of the pictures")
    given = parser.parse_args()
    with Store.open(given.store) as store, sync_playwright() as playwright:
        store.refresh()
        html = view_comparison(store, [given.run]).html_page(columns=NOTEBOOK_COLUMNS)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport={"width": WIDEST, "height": 800},
                color_scheme=scheme,
                device_scale_factor=SHARPNESS,
            )
            path = given.to / f"table-{scheme}.png"
            photograph(page, html, path)
            sys.stdout.write(f"{path}  {path.stat().st_size / 1000:.0f} kB\n")
        browser.close()


if __name__ == "__main__":
    main()
