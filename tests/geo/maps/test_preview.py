import numpy as np
import pytest
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from PIL import Image

from pipeline.geo.maps import preview, true_colour
from pipeline.geo.maps.areas import Tally
from pipeline.geo.maps.class_map import MapRecord, Provenance
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.style.colors import rgb
from pipeline.geo.style.fonts import fonts, legible, runs
from pipeline.store_meta import ClassInfo
from tests.support.mapped import info

CLASSES = [
    ClassInfo(name="forest", title="Wald", color="#00aa00"),
    ClassInfo(name="water", title="$H_2O$", color="#0000ff"),
    ClassInfo(name="none", title="Never there", color="#ff00ff"),
]
SCENE = (300_000.0, 5_790_000.0, 320_000.0, 5_800_000.0)
ORIGIN = Provenance([info("scene")], ["B02"], 80, 160, {}, "Labels for $5_a$")


def photo(bands=("B04", "B03", "B02"), size=(100, 200)):
    """A scene in colour."""
    pixels = np.random.default_rng(0).integers(500, 3000, (len(bands), *size)).astype(np.uint16)
    return preview.Panel(true_colour.photo_title(bands), true_colour.stretch(pixels), SCENE)


def class_map(classes=CLASSES):
    """West forest, east water, and one column of cells past the eastern edge of the scene."""
    cells = np.repeat([[1] * 10 + [2] * 10 + [3]], 10, axis=0).astype(np.uint8)
    left, bottom, right, top = SCENE
    return preview.Panel("Class map", preview.paint(cells, classes), (left, bottom, right + 1000, top))


def halves():
    """Half of the ground is forest, half is water."""
    pixels = np.zeros(256, dtype=np.int64)
    pixels[1:3] = 1
    return pixels


def drawn(path, scene=None, classes=CLASSES, pixels=None):
    pixels = halves() if pixels is None else pixels
    record = MapRecord(ORIGIN, PixelGrid(32633, 0, 0, 10, 21, 80), classes, Tally(pixels, pixels))
    panels = scene or photo(), class_map(classes)
    preview.draw(path, panels, record, "scene", "2017-02-16 · L1C")
    return np.asarray(Image.open(path).convert("RGB"))


def columns_of(image, color):
    """The columns of a picture where some pixels of the class map have a colour."""
    hit = (image[120:, :-280] == rgb(color)).all(axis=2)
    return np.flatnonzero(hit.any(axis=0))


def test_the_same_input_gives_the_same_bytes(tmp_path):
    drawn(tmp_path / "a.png")
    drawn(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"matplotlib" not in (tmp_path / "a.png").read_bytes().lower()


def test_scene_and_map_show_the_same_ground(tmp_path):
    image = drawn(tmp_path / "a.png")
    forest, water = (columns_of(image, color) for color in ("#00aa00", "#0000ff"))
    assert abs(len(forest) - len(water)) <= 2, "half of the scene each"
    assert forest.max() + 1 == water.min()
    assert not len(columns_of(image, "#ff00ff")), "cells past the edge of the scene are not shown"
    inside = image[120:, forest[5:-5]] == rgb("#00aa00")
    assert len(np.unique(inside.all(axis=2).sum(axis=0))) == 1, "the scale bar lies on the scene"


def test_the_legend_names_the_classes_that_occur(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(preview._Page, "text", lambda _, x, y, text, **__: written.append(text))  # noqa: ARG005
    drawn(tmp_path / "a.png")
    assert written[:2] == ["scene", "2017-02-16 · L1C"]
    assert "True colour (B04, B03, B02)" in written
    start = written.index("Wald")
    assert written[start : start + 4] == ["Wald", "50.0 %", "$H_2O$", "50.0 %"]
    assert "Never there" not in written
    assert written[-1] == ORIGIN.attribution


def test_many_classes_end_in_one_line_for_the_others(tmp_path, monkeypatch):
    many = [ClassInfo(name=f"c{i}", title=f"C{i}", color="#123456") for i in range(60)]
    pixels = np.zeros(256, dtype=np.int64)
    pixels[1:61] = np.arange(60, 0, -1)
    written = []
    monkeypatch.setattr(preview._Page, "text", lambda _, x, y, text, **__: written.append(text))  # noqa: ARG005
    drawn(tmp_path / "a.png", classes=many, pixels=pixels)
    shown = [text for text in written if text in {info.title for info in many}]
    assert shown == [f"C{i}" for i in range(len(shown))]
    assert f"{60 - len(shown)} others" in written


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (["B01", "B02", "B03", "B04", "B08"], ("B04", "B03", "B02")),
        (["B03", "B08", "B11", "B12"], ("B12", "B11", "B08")),
        (["B08", "B11"], ("B08",)),
    ],
)
def test_a_scene_without_true_colour_has_a_picture_too(tmp_path, available, expected):
    bands = true_colour.photo_bands(available)
    assert bands == expected
    drawn(tmp_path / "a.png", scene=photo(bands, (30, 60)))


def test_the_stretch_leaves_nodata_out():
    pixels = np.random.default_rng(0).integers(500, 3000, (3, 100, 200)).astype(np.uint16)
    pixels[:, :50, :100] = 0
    image = true_colour.stretch(pixels)
    assert (image[:50, :100] == rgb("#e6e8eb")).all()
    values = pixels[0][pixels[0] > 0]
    low, high = np.percentile(values, (2, 98))
    inside = (pixels[0] > low) & (pixels[0] < high)
    expected = np.rint(255 * (pixels[0][inside] - low) / (high - low))
    np.testing.assert_array_equal(image[..., 0][inside], expected)
    assert (true_colour.stretch(np.zeros((3, 4, 4), dtype=np.uint16)) == rgb("#e6e8eb")).all()


def test_letters_that_no_font_has_do_not_stop_a_preview(tmp_path):
    unknown = "\U00013000"  # a hieroglyph
    if len(fonts(unknown)) > 1:
        pytest.skip("this machine has a font with hieroglyphs")
    assert legible(f"a{unknown}b") == "a?b"
    odd = [CLASSES[0].model_copy(update={"title": unknown}), *CLASSES[1:]]
    assert preview._entry(odd[0]) == ("#00aa00", "forest")
    drawn(tmp_path / "a.png", classes=odd)


def test_letters_of_other_scripts_are_shown_as_they_are():
    assert legible("Gewässer · Лес · δάσος · غابة") == "Gewässer · Лес · δάσος · غابة"


def test_each_character_is_of_the_first_font_that_has_it(tmp_path):
    mixed = "a\U0001d504\U0001d538"  # no font that comes with matplotlib has all three
    assert fonts("Wald") == ("DejaVu Sans",)
    assert fonts(mixed)[0] == "DejaVu Sans"
    assert len(fonts(mixed)) >= 2
    assert legible(mixed) == mixed
    assert "".join(part for _, part in runs(mixed)) == mixed
    assert {family for family, _ in runs(mixed)} == set(fonts(mixed))
    for family, part in runs(mixed):
        assert set(map(ord, part)) <= FT2Font(fontManager.findfont(family)).get_charmap().keys()
    titled = [CLASSES[0].model_copy(update={"title": mixed}), *CLASSES[1:]]
    drawn(tmp_path / "a.png", classes=titled)
