"""Published figures: beside ours where all of the data set was run by its lists, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pipeline.learn.evaluation.published_scores import beside
from pipeline.learn.report.summary import caveat, description
from pipeline.store import ImagesInfo, Split, SplitFolder, StoreMeta
from tests.learn.report.test_summary import SCORES
from tests.support.learners import model_meta
from tests.support.stores import make_split, make_store

WHOLE = ImagesInfo(
    name="EuroSAT",
    whole=True,
    lists=["mine", "official"],
    published_lists=["official"],
    lists_sha256="0" * 64,
)


@dataclass(frozen=True)
class Made:
    """A store and a split, as their files would describe them."""

    store: StoreMeta
    split: SplitFolder

    def of(self, images: ImagesInfo | None, **parted: object) -> tuple[StoreMeta, SplitFolder]:
        split = Split.model_validate(self.split.split.model_dump() | parted)
        return self.store.model_copy(update={"images": images}), SplitFolder(self.split.folder, split)


@pytest.fixture
def made(tmp_path) -> Made:
    store = make_store(tmp_path / "patches", count=100)
    return Made(store.meta, make_split(tmp_path / "split", store))


def test_they_stand_beside_all_of_the_images_parted_by_a_published_list(made: Made) -> None:
    text = beside(*made.of(WHOLE, lists="official"), SCORES["network"])
    assert text.startswith(
        "All of EuroSAT: 62.50% here, list 'official', 20 test images; 98.57% ResNet-50"
    )
    assert "a random 80 % trained, the other 20 % tested, not these lists" in text
    assert "doi:10.1109/JSTARS.2019.2918242" in text


@pytest.mark.parametrize(
    ("images", "lists"),
    [
        (None, None),
        (WHOLE, None),
        (WHOLE, "mine"),
        (WHOLE.model_copy(update={"whole": False}), "official"),
        (WHOLE.model_copy(update={"published_lists": []}), "official"),
    ],
)
def test_nowhere_else(made: Made, images: ImagesInfo | None, lists: str | None) -> None:
    store, split = made.of(images, lists=lists)
    assert beside(store, split, SCORES["network"]) == ""
    assert "Published" not in description(model_meta(classes=3), store, split, SCORES, {})


def test_the_run_tells_of_them_and_of_the_ground_that_the_list_shares(made: Made) -> None:
    store, split = made.of(WHOLE, lists="official", shared_ground_m2=2.5e6)
    text = description(model_meta(classes=3), store, split, SCORES, {})
    assert "**Published.** All of EuroSAT: 62.50% here" in text
    assert "Parts as in the published list 'official'." in text
    assert "Parts share 2.50 km2 of ground, so that what is tested was seen in training (audit" in text
    assert "No ground is shared" not in text
    assert "images like those of EuroSAT" in caveat(store)
