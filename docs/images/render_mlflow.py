"""Draws docs/images/mlflow*.png: what a reviewer sees of the demo and a second run, in Chromium.

After `make demo`, then another experiment (`dvc exp run -S conf/train.yaml:bands=rgb`) and `make ui`:
python docs/images/render_mlflow.py http://127.0.0.1:5000 docs/images
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import mlflow
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

OWN = """
for (const element of document.querySelectorAll("div, span, a"))
  if (!element.children.length && /^(Path:|root$)/.test(element.textContent)) element.textContent = "";
"""
"""Blanks what is of the machine that draws: its paths and its user."""
PAUSE_S = 15
"""Until the page has asked its server for everything."""


def browser() -> webdriver.Chrome:
    """Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1150"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def pages(address: str) -> dict[str, str]:
    """The page behind each picture, of the two newest runs of models."""
    client = mlflow.MlflowClient(address)
    versions = client.search_model_versions("name = 'lenscape'")
    newest = sorted(versions, key=lambda version: int(version.version))[-2:]
    first, second = (version.run_id for version in newest)
    experiment = client.get_run(first).info.experiment_id
    run = f"#/experiments/{experiment}/runs/{second}"
    return {
        "mlflow": run,
        "mlflow_report": f"{run}/artifacts/report.html",
        "mlflow_version": f"#/models/lenscape/versions/{newest[-1].version}",
        "mlflow_compare": f'#/compare-runs?runs=["{first}","{second}"]&experiments=["{experiment}"]',
    }


def main(address: str, folder: str) -> None:
    """Draw all pictures."""
    driver = browser()
    for name, page in pages(address).items():
        driver.get("about:blank")
        driver.get(f"{address}/{page}")
        time.sleep(PAUSE_S)
        for close in driver.find_elements(
            "css selector", "[aria-label='Close Assistant'], [aria-label='Close']"
        ):
            close.click()
        if name == "mlflow_compare":
            driver.find_element("xpath", "//*[text()='Visualizations']").click()
            driver.find_element("xpath", "//*[text()='Show diff only']").click()
        time.sleep(2)
        driver.execute_script(OWN)
        driver.save_screenshot(str(Path(folder) / f"{name}.png"))
    driver.quit()


if __name__ == "__main__":
    main(*sys.argv[1:3])
