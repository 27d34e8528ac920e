"""A headless Chromium walks through the pages of the UI; no page has an error, and no other host is contacted."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from endtoend.browser import MISSING, Browser
from endtoend.client import Client
from endtoend.conftest import Damaged, Grown
from endtoend.services import HOST, Services

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
PICTURE = "[...document.querySelectorAll('img')].some(i => i.src.startsWith('data:image/png') && i.naturalWidth > 50)"
GROUPS = ("data", "pinn", "lsqml", "report")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    window = Browser(tmp_path_factory.mktemp("browser"))
    try:
        yield window
        # Whatever a test looked at:
        assert window.complaints == []
        assert any(url.startswith(f"http://{HOST}") for url in window.requests)
        assert window.elsewhere(HOST) == []
    finally:
        window.close()


@pytest.fixture
def site(services: Services, grown: Grown) -> str:
    return f"http://{HOST}:{services.port}"


def test_asset_graph(browser: Browser, site: str) -> None:
    browser.go(f"{site}/asset-groups", "Global asset lineage", *GROUPS)


def test_a_partition_and_its_picture(browser: Browser, site: str) -> None:
    cell = quote("1000|dense")
    browser.go(
        f"{site}/assets/overlap_view?view=partitions&partition={cell}", "1000|dense", "frames_train", "succeeded"
    )
    browser.click("[Show Markdown]", "td :not(:has(*))")
    browser.until(lambda: browser.evaluate(PICTURE), "the picture in the dialog")


def test_a_check(browser: Browser, site: str, client: Client) -> None:
    client.run("audit")
    browser.go(f"{site}/assets/overlap_view?view=checks&checkDetail=sha256", "Every file matches its sidecar", "Passed")


def test_plots_over_partitions(browser: Browser, site: str) -> None:
    browser.go(f"{site}/assets/simulated_dataset?view=overview", "Plots", "photons_per_frame")
    browser.click("Plots", "button, button *, [role=button] *")
    browser.until(lambda: browser.evaluate("document.querySelectorAll('canvas').length > 1"), "plots")


def test_the_page_of_a_failed_run(browser: Browser, site: str, damaged: Damaged) -> None:
    failed = next(run for run in damaged.backfill["runs"] if run["status"] == "FAILURE")
    browser.go(f"{site}/runs/{failed['id']}", "Failure", "patched_train.npz: has SHA256")
