"""Make the pictures of the README from real runs: the comparison and one run, light and dark.

Run it after a change of the look: ``make demo``, then ``.venv/bin/python docs/pictures.py``. It
needs playwright and a Chromium (another one than the usual: ``CHROMIUM=/path/to/it``).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import Page, sync_playwright

from mlops_nb.display import View, view_comparison, view_run
from mlops_nb.display.html import NOTEBOOK_COLUMNS
from mlops_nb.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SHARPNESS = 2  # pixels of the picture for one of the page
WIDEST = 1400


def views(store: Store, reference: str) -> Iterator[tuple[str, View]]:
    """Give the views worth a picture, with the names of their files."""
    comparison = view_comparison(store, [reference])
    yield "table", comparison
    best = comparison.comparison.baseline
    if best is not None:
        yield "run", view_run(store, store.get_run(best))


def photograph(page: Page, html: str, path: Path) -> None:
    """Save a picture of what an HTML page shows, cut to its content."""
    page.set_content(html)
    # As wide as the widest part, so that nothing is cut off and no empty border is left.
    content = page.locator("body > div")
    page.evaluate("document.body.style.cssText = 'width: max-content; margin: 20px'")
    box = content.bounding_box()
    assert box is not None
    width = min(box["x"] + box["width"] + 20, WIDEST)
    height = box["y"] + box["height"] + 20
    page.screenshot(
        path=path, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height}
    )


def main() -> None:
    """Open the store that ``make demo`` filled, and photograph its runs in both themes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="output/.mlops", help="a store with runs")
    parser.add_argument("--run", default="demo", help="the run whose children are compared")
    parser.add_argument("--to", type=Path, default=HERE, help="folder for the pictures")
    given = parser.parse_args()
    with Store.open(given.store) as store, sync_playwright() as playwright:
        store.refresh()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        pages = {
            name: view.html_page(columns=NOTEBOOK_COLUMNS)
            for name, view in views(store, given.run)
        }
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport={"width": WIDEST, "height": 800},
                color_scheme=scheme,
                device_scale_factor=SHARPNESS,
            )
            for name, html in pages.items():
                path = given.to / f"{name}-{scheme}.png"
                photograph(page, html, path)
                print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
