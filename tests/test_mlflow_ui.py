"""What a reviewer sees: MLflow's UI, served on loopback and opened in a real browser."""

from __future__ import annotations

import time

import pytest

from tests.support.browsing import (
    chromium,
    inside_frame,
    needs_browser,
    run_page,
    served_ui,
    shows,
    widest_picture,
)
from tests.support.evaluated import challenged, evaluated_project

pytestmark = [
    pytest.mark.slow,
    needs_browser,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
    ),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory, programs):
    """A project and the address of MLflow's UI on its store."""
    with (
        evaluated_project(tmp_path_factory.mktemp("ui")) as project,
        served_ui(project.database, programs) as address,
    ):
        yield project, address


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        yield driver


def test_the_run_explains_itself(served, browser):
    project, address = served
    run = project.run
    title = "Accuracy on held-out ground."
    assert shows(browser, run_page(address, run), run.info.run_name, title, "lenscape")


def test_metrics_by_epoch_are_there(served, browser):
    project, address = served
    page = run_page(address, project.run, "/model-metrics")
    assert shows(browser, page, "kappa", "test/recall", "train", "val")


def test_figures_are_there(served, browser):
    project, address = served
    base = run_page(address, project.run, "/artifacts")
    assert shows(browser, f"{base}/figures/confusion.png", "figures", "confusion.png", "mistakes.png")
    assert widest_picture(browser) > 600


def test_the_report_is_shown_as_a_page(served, browser):
    """What a reviewer decides by: the summary first, figures, and the comparison with the champion."""
    project, address = served
    base = run_page(address, project.run, "/artifacts")
    assert shows(browser, f"{base}/report.html", "report.html", "model_card.md")
    page = inside_frame(browser, "Provenance")
    order = ("Summary", "Comparison with the baselines", "Accuracy by class")
    assert sorted(order, key=page.index) == list(order)
    assert "is the champion." in page
    assert widest_picture(browser, 400) > 400
    browser.switch_to.default_content()


def test_runs_can_be_compared(served, browser):
    project, address = served
    experiment, runs = project.run.info.experiment_id, [project.run.info.run_id]
    runs.append(challenged(project).info.run_id)
    quoted = ",".join(f'"{run}"' for run in runs)
    page = f'{address}/#/compare-runs?runs=[{quoted}]&experiments=["{experiment}"]'
    assert shows(browser, page, "Comparing 2 Runs", *runs, "Show diff only")
    browser.find_element("xpath", "//*[text()='Show diff only']").click()
    shown = shown_text(browser, "train.network.convolutions.1.filters")
    assert "split.block_m" not in shown  # the same in both


def shown_text(browser, text):
    """The text of the page once it shows something."""
    for _ in range(60):
        page = browser.find_element("tag name", "body").text
        if text in page and "split.block_m" not in page:
            return page
        time.sleep(0.5)
    pytest.fail(f"{text!r} is not shown alone:\n{page[:2000]}")


def test_the_registered_model_is_there(served, browser):
    _, address = served
    assert shows(browser, f"{address}/#/models/lenscape", "lenscape", "champion", "balanced_accuracy")


def test_a_version_is_described_by_its_model_card(served, browser):
    _, address = served
    page = f"{address}/#/models/lenscape/versions/1"
    assert shows(browser, page, "Purpose", "Limitations", "Licence")
