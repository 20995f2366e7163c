"""The browser that the page is tried in: Debian's Chromium, or another of its kind that is there."""

from __future__ import annotations

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "EDGEWORTHY_BROWSER_TESTS"  # set to "required", its absence is a failure
MISSING = "The tests in a browser were not run: there is no Chromium (apt-get install chromium)."

# Without a sandbox, as in a container; and without the browser's own calls to its maker.
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def chromium() -> str | None:
    """Its path; None where there is none.

    Raises:
        RuntimeError: where there is none, and there has to be.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.environ.get(REQUIRED) == "required":
        raise RuntimeError(MISSING)
    return found
