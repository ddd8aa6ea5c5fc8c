"""MLflow's UI, served on loopback and opened in a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and its driver")
WITHOUT_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Else a server starts eight processes for jobs that nobody gives it."""


@contextmanager
def served_ui(database: Path, programs: Path) -> Iterator[str]:
    """The address of MLflow's UI on a store; its programs are those of tests/support/forks.py."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [programs / "mlflow", "ui", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{database}"]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", **WITHOUT_JOBS}
    with database.with_name("ui.log").open("w") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        address = f"http://127.0.0.1:{port}"
        try:
            _wait(address, server)
            yield address
        finally:
            os.killpg(server.pid, 15)
            server.wait(30)


def _wait(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        if server.poll() is not None:
            pytest.fail("the server ended at once")
        try:
            with urlopen(f"{address}/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    pytest.fail("the server does not answer")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    from selenium import webdriver  # noqa: PLC0415
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1500,1600"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def run_page(address: str, run: Any, what: str = "") -> str:
    """The address of a run's page, or of a part of it."""
    return f"{address}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{what}"


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


def widest_picture(browser, wanted=600):
    """The width in pixels of the widest picture that the page has loaded."""
    widths = "return Math.max(0, ...[...document.images].map(i => i.complete ? i.naturalWidth : 0))"
    for _ in range(60):
        if (width := browser.execute_script(widths)) > wanted:
            break
        time.sleep(0.5)
    return width
