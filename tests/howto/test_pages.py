"""What how-to pages say of keys and numbers, compared with the records that the stages read."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from pipeline.config.labels import RasterLabelConf, VectorLabelConf
from pipeline.config.sources import SceneConf, StackConf
from pipeline.config.tile import TileConf
from pipeline.config.train import PRESETS
from pipeline.learn.network.layers import fits
from tests.support.pages import BLOCK, HOWTO


def text_of(page: str) -> str:
    return (HOWTO / f"{page}.md").read_text(encoding="utf-8")


def required(record: type[BaseModel]) -> set[str]:
    return {name for name, field in record.model_fields.items() if field.is_required()}


def test_the_keys_that_a_scene_must_have_are_in_bold() -> None:
    bold = set(re.findall(r"^\| \*\*`(\w+)`\*\* \|", text_of("stack"), re.MULTILINE))
    assert bold == required(StackConf) | required(SceneConf)


@pytest.mark.parametrize(
    ("record", "pages"),
    [(VectorLabelConf, ("polygons", "points")), (RasterLabelConf, ("polygons", "label-rasters"))],
)
def test_every_key_of_labels_stands_in_a_table(record: type[BaseModel], pages: tuple[str, str]) -> None:
    rows = [line for page in pages for line in text_of(page).splitlines() if line.startswith("| `")]
    named = {key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert record.model_fields.keys() - named == set()


def test_the_sizes_of_the_page_on_points_fit_each_other_and_the_network() -> None:
    blocks = [YAML(typ="safe").load(body) for language, _, body in BLOCK.findall(text_of("points"))
              if language == "yaml"]  # fmt: skip
    shown = [
        TileConf.model_validate({"labels": []} | block) for block in blocks if "classes" not in block
    ]
    sizes = {(tile.patch_px, tile.cell_px) for tile in shown if tile.patch_px}
    assert (15, 1) in sizes
    assert all(fits(PRESETS["modern"], patch_px) for patch_px, _ in sizes)
    assert any(
        label.crs for tile in shown for label in tile.labels if isinstance(label, VectorLabelConf)
    )
