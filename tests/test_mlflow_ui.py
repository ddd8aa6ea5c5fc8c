"""What a reviewer sees: MLflow's UI, served on loopback and opened in a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.judged import challenged, judged_project

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and its driver"),
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
    ),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A project and the address of MLflow's UI on its store."""
    with judged_project(tmp_path_factory.mktemp("ui")) as project:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        uri = f"sqlite:///{project.database}"
        command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--workers", "1"]
        command += ["--port", str(port), "--backend-store-uri", uri]
        log = (project.folder / "ui.log").open("w")
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        server = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        address = f"http://127.0.0.1:{port}"
        try:
            _wait(address, server)
            yield project, address
        finally:
            os.killpg(server.pid, 15)
            server.wait(30)
            log.close()


def _wait(address, server):
    for _ in range(240):
        if server.poll() is not None:
            pytest.fail("the server ended at once")
        try:
            with urlopen(f"{address}/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    pytest.fail("the server does not answer")


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver  # noqa: PLC0415
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1500,1600"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def shows(browser, address, *texts):
    """Whether a page comes to show all of the texts."""
    browser.get("about:blank")  # a change behind the # alone loads nothing
    browser.get(address)
    page = ""
    for _ in range(120):
        page = browser.find_element("tag name", "body").text
        if all(text in page for text in texts):
            return True
        time.sleep(0.5)
    pytest.fail(f"{[text for text in texts if text not in page]} not on {address}:\n{page[:2000]}")


def test_the_run_explains_itself(served, browser):
    project, address = served
    run = project.run
    page = f"{address}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert shows(browser, page, run.info.run_name, "Result on the test part", "lenscape")


def test_metrics_by_epoch_are_there(served, browser):
    project, address = served
    run = project.run
    page = f"{address}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics"
    assert shows(browser, page, "kappa", "test/recall", "train", "val")


def test_figures_are_there(served, browser):
    project, address = served
    run = project.run
    base = f"{address}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts"
    assert shows(browser, f"{base}/figures/confusion.png", "figures", "confusion.png", "mistakes.png")
    assert widest_picture(browser) > 600


def widest_picture(browser, wanted=600):
    """The width in pixels of the widest picture that the page has loaded."""
    widths = "return Math.max(0, ...[...document.images].map(i => i.complete ? i.naturalWidth : 0))"
    for _ in range(60):
        if (width := browser.execute_script(widths)) > wanted:
            break
        time.sleep(0.5)
    return width


def test_the_report_is_shown_as_a_page(served, browser):
    """What a reviewer decides by: verdict first, figures, and what changed since the champion."""
    project, address = served
    run = project.run
    base = f"{address}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts"
    assert shows(browser, f"{base}/report.html", "report.html", "model_card.md")
    page = inside_frame(browser, "Where it comes from")
    assert page.index("Verdict") < page.index("Against the baselines") < page.index("By class")
    assert "is the champion." in page
    assert widest_picture(browser, 400) > 400
    browser.switch_to.default_content()


def inside_frame(browser, text):
    """The text of the page that the viewer of artifacts shows in a frame; the browser stays in it."""
    for _ in range(120):
        browser.switch_to.default_content()
        for frame in browser.find_elements("tag name", "iframe"):
            browser.switch_to.frame(frame)
            page = browser.find_element("tag name", "body").text
            if text in page:
                return page
            browser.switch_to.default_content()
        time.sleep(0.5)
    pytest.fail(f"no frame shows {text!r}")


def test_runs_can_be_compared(served, browser):
    project, address = served
    experiment, runs = project.run.info.experiment_id, [project.run.info.run_id]
    runs.append(challenged(project).info.run_id)
    quoted = ",".join(f'"{run}"' for run in runs)
    page = f'{address}/#/compare-runs?runs=[{quoted}]&experiments=["{experiment}"]'
    assert shows(browser, page, "train.network.convolutions.1.filters", "test/balanced_accuracy")
    text = browser.find_element("tag name", "body").text
    assert "baseline/svm/accuracy" in text


def test_the_registered_model_is_there(served, browser):
    _, address = served
    assert shows(browser, f"{address}/#/models/lenscape", "lenscape", "champion", "balanced_accuracy")


def test_a_version_is_described_by_its_model_card(served, browser):
    _, address = served
    page = f"{address}/#/models/lenscape/versions/1"
    assert shows(browser, page, "Purpose", "Where not to use it", "Licence")
