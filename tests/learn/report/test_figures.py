"""Charts: what they show, and that all of their text is legible."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from pipeline.learn.network.history import Epoch
from pipeline.learn.report import figures
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.calibration import Reliability
from pipeline.learn.stats.intervals import Interval

TITLES = [f"Class {k}" if k % 3 else f"Klasse {k}: Wiesen und Weiden" for k in range(20)]
BANDS = ("B04", "B03", "B02")


def scores(classes: int, count: int = 4000) -> Scores:
    random = np.random.default_rng(0)
    truth = random.integers(0, classes, count)
    guess = random.integers(0, classes, count)
    return Scores.of(truth, np.where(random.random(count) < 0.6, truth, guess), classes)


def history(epochs: int) -> list[Epoch]:
    return [
        Epoch(n, 2 / n, 2 / n + 0.3, 1 - 0.9 / n, 0.8 - 0.6 / n, 1e-3) for n in range(1, epochs + 1)
    ]


def drawn(figure: Figure) -> list[Text]:
    """The text that a reader sees: ticks outside of their axis, for one, are there but never drawn."""
    seen: dict[int, Text] = {}
    draw = Text.draw

    def record(text: Text, renderer: object) -> None:
        if text.get_visible() and text.get_text().strip():
            seen[id(text)] = text
        draw(text, renderer)

    with patch.object(Text, "draw", record):
        FigureCanvasAgg(figure).draw()
    return list(seen.values())


def words(figure: Figure) -> set[str]:
    return {text.get_text() for text in drawn(figure)}


def assert_legible(figure: Figure) -> None:
    """Each text lies inside of the figure and on no other one."""
    texts = drawn(figure)
    boxes = np.array([text.get_window_extent().extents for text in texts])  # x0, y0, x1, y1
    inside = (boxes >= -1) & (boxes <= 1 + np.tile(figure.bbox.size, 2))
    assert inside.all(), [texts[row] for row in np.flatnonzero(~inside.all(axis=1))]
    # a text may be narrower than the two pixels that are taken off
    low, high = np.sort([boxes[:, :2] + 1, boxes[:, 2:] - 1], axis=0)
    overlap = (low[:, None] <= high).all(axis=2) & (low <= high[:, None]).all(axis=2)
    # the box around slanted text is far larger than the text
    slanted = np.array([text.get_rotation() % 90 != 0 for text in texts])
    overlap &= ~(slanted[:, None] & slanted)
    assert not (pairs := np.argwhere(np.triu(overlap, 1))).size, [
        (texts[i], texts[j]) for i, j in pairs
    ]


@pytest.mark.parametrize("classes", [2, 8, 20])
def test_confusion_shows_each_count(classes):
    found = scores(classes)
    figure = figures.confusion(found, TITLES[:classes])
    assert_legible(figure)
    seen = words(figure)
    assert {str(n) for n in found.confusion.ravel() if n} <= seen
    assert set(TITLES[:classes]) <= seen
    assert any("4,000 held-out patches" in text for text in seen)
    axes = figure.axes[0]
    shares = np.asarray(axes.images[0].get_array())
    assert shares.sum(axis=1) == pytest.approx(np.ones(classes))  # of the true class, which is a row
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")


@pytest.mark.parametrize("classes", [2, 8, 20])
def test_per_class_has_three_bars_a_class(classes):
    found = scores(classes)
    figure = figures.per_class(found, TITLES[:classes])
    assert_legible(figure)
    bars = {box.get_label(): [bar.get_width() for bar in box] for box in figure.axes[0].containers}
    assert bars == {
        "precision": [row.precision for row in found.per_class],
        "recall": [row.recall for row in found.per_class],
        "F1": [row.f1 for row in found.per_class],
    }
    assert f"{TITLES[1]} ({found.per_class[1].support:,})" in words(figure)
    # the first class is the topmost
    low, high = figure.axes[0].get_ylim()
    assert low > high


def test_comparison_names_every_model_and_its_scores():
    models = {"network": scores(3), "majority": Scores.of(np.arange(4) % 2, np.zeros(4, int), 2)}
    figure = figures.comparison(models | {"logistic_regression": scores(4)})
    assert_legible(figure)
    assert {"network", "majority", "logistic regression", "0.500"} <= words(figure)


@pytest.mark.parametrize("count", [1, 13])
def test_band_importance_has_a_bar_a_band_with_its_spread(count):
    bands, losses = [f"B{n:02}" for n in range(count)], [0.1 - 0.02 * n for n in range(count)]
    figure = figures.band_importance(list(zip(bands, losses, [0.01] * count, strict=True)))
    assert_legible(figure)
    assert {*bands, "loss of balanced accuracy"} <= words(figure)
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.containers[0]] == losses
    (spread,) = axes.containers[1].lines[2][0].get_segments()[:1]
    assert spread[:, 0] == pytest.approx([losses[0] - 0.01, losses[0] + 0.01])


def test_the_reliability_diagram_shows_both_states_of_calibration():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(3), 400)
    truth = random.integers(0, 3, 400)
    parts = {
        "before": Reliability.of(truth, probabilities),
        "after": Reliability.of(truth, probabilities),
    }
    figure = figures.reliability(parts)
    assert_legible(figure)
    error = parts["before"].error
    assert {
        "Reliability diagram",
        "perfect calibration",
        f"before calibration, ECE {error:.3f}",
        f"after calibration, ECE {error:.3f}",
    } <= words(figure)


@pytest.mark.parametrize("epochs", [1, 4, 60])
def test_curves_follow_the_history(epochs):
    rows = history(epochs)
    figure = figures.curves(rows, epochs)
    assert_legible(figure)
    loss, accuracy = figure.axes
    lines = {line.get_label(): list(line.get_ydata()) for line in loss.lines}
    assert lines["train"] == [row.train_loss for row in rows]
    assert lines["validation"] == [row.validation_loss for row in rows]
    assert accuracy.lines[1].get_ydata()[-1] == rows[-1].validation_balanced_accuracy
    assert f"epoch {epochs}, which was kept" in words(figure)
    assert all(text.get_text().isdigit() for text in drawn(figure) if text in loss.get_xticklabels())


@pytest.mark.parametrize("count", [0, 1, 7, 24])
def test_gallery_captions_each_picture_and_outlines_its_cell(count):
    picture = np.random.default_rng(0).random((16, 16, 3))
    shown = [
        figures.Captioned(picture, (f"true: {TITLES[n % 20]}", f"predicted: {TITLES[(n + 3) % 20]}"))
        for n in range(count)
    ]
    figure = figures.gallery("What they are\npatches of 160 m", shown, 160, 80)
    assert_legible(figure)
    assert "What they are\npatches of 160 m" in words(figure)
    panels = [axes for axes in figure.axes if axes.images]
    for axes, one in zip(panels, shown, strict=True):
        assert axes.get_title().split() == " ".join(one.lines).split()
        # pixel centres are whole numbers: the cell of 8 px covers 4 to 11
        x, y = axes.patches[0].get_xy()
        assert (x, y, axes.patches[0].get_width()) == (3.5, 3.5, 8)


def test_filters_stand_where_their_axes_say():
    weights = np.arange(6 * 3 * 25, dtype=np.float32).reshape(6, 3, 5, 5)
    figure = figures.first_filters(weights, BANDS)
    assert_legible(figure)
    axes = figure.axes[0]
    mosaic = np.asarray(axes.images[0].get_array().filled(np.nan))
    assert [text.get_text() for text in axes.get_yticklabels()] == list(BANDS)
    row, col = round(axes.get_yticks()[1]), round(axes.get_xticks()[4])
    assert mosaic[row - 2 : row + 3, col - 2 : col + 3] == pytest.approx(weights[4, 1])
    assert np.isnan(mosaic[:, 5]).all()
    assert np.isnan(mosaic[5]).all()


def test_of_many_filters_the_first_are_shown():
    figure = figures.first_filters(
        np.zeros((64, 13, 3, 3), np.float32), [f"B{n:02}" for n in range(13)]
    )
    assert_legible(figure)
    assert "filter (the first 32 of 64)" in words(figure)


def test_a_text_page_shows_the_text():
    text = "\n".join(f"layer {n}    {n * 1000:>12,}    of many filters and weights" for n in range(15))
    figure = figures.text_page(text, "Layers of modern")
    assert_legible(figure)
    assert {text, "Layers of modern"} <= words(figure)


def test_pictures_share_one_brightness():
    patches = np.zeros((2, 3, 4, 4), dtype=np.uint16)
    patches[0], patches[1] = 1000, 3000
    patches[:, :, 0, 0] = 0  # nodata pixels do not count
    patches[1, 2, 1, 3] = 2000
    limits = figures.stretch(patches)
    assert limits.tolist()[:2] == [[1000, 3000], [1000, 3000]]
    dark, bright = (figures.picture(patch, limits) for patch in patches)
    assert dark.max() == 0
    assert bright[1, 1].tolist() == [1, 1, 1]
    assert bright[1, 3].tolist() == pytest.approx([1, 1, 0.5], abs=0.01)  # row, col, then band
    assert bright[0, 0].tolist() == [0, 0, 0]


def test_a_band_without_a_valid_pixel_is_black():
    patches = np.full((1, 3, 4, 4), 500, dtype=np.uint16)
    patches[:, 1] = 0
    assert figures.picture(patches[0], figures.stretch(patches))[..., 1].max() == 0


def test_dollars_in_titles_begin_no_formula():
    titles = [r"Cost $\frac{a$ b", "$1 to $2", r"\$"]
    captioned = figures.Captioned(np.zeros((8, 8, 3)), tuple(titles))
    shown = (
        figures.confusion(scores(3), titles),
        figures.per_class(scores(3), titles),
        figures.gallery("Mistakes", [captioned], 160, 80),
    )
    for figure in shown:  # matplotlib raises where it cannot read a formula
        assert all(not text._preprocess_math(text.get_text())[1] for text in drawn(figure))


def test_a_learning_curve_shows_each_share_with_its_interval() -> None:
    shares = {0.25: Interval(0.5, 0.4, 0.7, 43), 1.0: Interval(0.6, 0.55, 0.62, 43)}
    figure = figures.learning_curve(shares)
    assert_legible(figure)
    (curve,) = figure.axes[0].containers
    points, _, (bars,) = curve.lines
    assert points.get_xydata().tolist() == [[0.25, 0.5], [1.0, 0.6]]
    ends = [[[0.25, 0.4], [0.25, 0.7]], [[1.0, 0.55], [1.0, 0.62]]]
    assert np.allclose(bars.get_segments(), ends)
