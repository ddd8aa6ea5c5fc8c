"""docs/howto/review.md as it stands: a reviewer evaluates two models in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from tests.support.browsing import chromium, inside_frame, needs_browser, run_page, served_ui, shows
from tests.support.pages import HOWTO, follow
from tests.support.projects import ROOT, Project

pytestmark = [
    pytest.mark.slow,
    needs_browser,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def followed(finished_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished_project.copy(tmp_path_factory.mktemp("review"))
    follow(HOWTO / "review.md", project)
    return project


def _runs(project: Project) -> list[Any]:
    """The runs of models, the first one first."""
    client = mlflow.MlflowClient(f"sqlite:///{project.path / 'mlflow.db'}")
    runs = client.search_runs(["1"], order_by=["attributes.start_time ASC"])
    return [run for run in runs if MLFLOW_PARENT_RUN_ID not in run.data.tags]


def test_a_reviewer_reads_the_report_then_the_card_then_compares(
    followed: Project, programs: Path
) -> None:
    champion, challenger = _runs(followed)
    with served_ui(followed.path / "mlflow.db", programs) as address, chromium() as browser:
        assert shows(browser, run_page(address, challenger, "/artifacts/report.html"), "model_card.md")
        page = inside_frame(browser, "Provenance")
        assert page.index("Summary") < page.index("Comparison with the baselines")
        assert "train.bands all rgb" in page  # differs from the champion
        assert "Gardens are taken for meadows." in page
        pictures = browser.find_elements("css selector", "#maps img")
        assert [one.get_attribute("alt") for one in pictures] == ["Map of east"]
        assert all(int(one.get_property("naturalWidth")) > 200 for one in pictures)
        browser.switch_to.default_content()
        version = f"{address}/#/models/lenscape/versions/2"
        assert shows(browser, version, "Land cover of the Havel country", "Limitations")
        both = ",".join(f'"{run.info.run_id}"' for run in (champion, challenger))
        compared = f'{address}/#/compare-runs?runs=[{both}]&experiments=["1"]'
        assert shows(browser, compared, "Comparing 2 Runs", challenger.info.run_name)


def test_the_run_describes_its_model_as_a_stac_item(followed: Project) -> None:
    _, challenger = _runs(followed)
    folder = followed.path / "mlartifacts" / challenger.info.run_id / "artifacts" / "checkpoint"
    item = json.loads((folder / "item.json").read_text(encoding="utf-8"))
    assert item["properties"]["mlm:input"][0]["bands"] == ["B04", "B03", "B02"]
    assert (folder / item["assets"]["model"]["href"]).is_file()
    west, south, east, north = item["bbox"]
    assert 12 < west < east < 13
    assert 52 < south < north < 53


def test_the_page_names_sections_that_the_report_has() -> None:
    named = (HOWTO / "review.md").read_text(encoding="utf-8")
    template = ROOT / "pipeline" / "learn" / "report" / "templates" / "report.html.j2"
    titles = re.findall("<h2>(.*?)</h2>", template.read_text(encoding="utf-8"))
    assert len(titles) == 9
    for title in titles:
        assert f"| {title} |" in named
