"""A headless Chromium for the tests of the page, and axe-core's findings. Each is skipped with a word where absent."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_RUN = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"


@contextlib.contextmanager
def opened() -> Iterator[Any]:
    """A browser. It is the program that FDETECT_CHROMIUM names, or ``chromium``."""
    api = pytest.importorskip("playwright.sync_api", reason="no playwright")
    program = os.environ.get("FDETECT_CHROMIUM") or shutil.which("chromium")
    if not program:
        pytest.skip("no browser: install chromium or set FDETECT_CHROMIUM")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield browser
        browser.close()


def axe_source(folder: Path) -> str:
    """axe-core's script: the file that FDETECT_AXE names, or installed by npm into ``folder``."""
    named = os.environ.get("FDETECT_AXE")
    if named:
        return Path(named).read_text()
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no axe-core: install npm or set FDETECT_AXE")
    command = [npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "axe-core@4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    script = folder / "node_modules/axe-core/axe.min.js"
    if done.returncode or not script.exists():
        pytest.skip(f"no axe-core: npm could not install it: {done.stderr[-200:]}")
    return script.read_text()


def grave(page: Any, axe: str) -> list[str]:
    """What axe-core holds to be a serious or critical violation on a page, as lines."""
    page.evaluate(axe)
    lines = []
    for found in page.evaluate(_RUN):
        if found["impact"] in ("serious", "critical"):
            lines += [f"{found['id']}: {node['html'][:200]}" for node in found["nodes"]]
    return lines
