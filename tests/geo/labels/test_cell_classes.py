"""Labels on top of each other, and pixels to cells, against slow and plain references."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.geo.labels.cell_classes import UNLABELLED, LayeredLabels, classify_cells
from pipeline.geo.raster.grid import Window
from tests.support.examples import examples

WINDOW = Window(3, 4, 2, 3)


@dataclass(frozen=True)
class Plane:
    """Labels that are an array of pixels."""

    classes: list[list[int]]
    first: int
    centred: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))

    def pixels(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        assert window == WINDOW
        classes = np.array(self.classes, dtype=np.int16)
        return classes, np.where(classes < 0, -1, self.first).astype(np.int32)


def test_the_first_layer_with_a_class_wins() -> None:
    layers = [
        Plane([[0, -1, -1], [-1, -1, -1]], 10),
        Plane([[1, 1, -1], [-1, 1, -1]], 20, centred=np.array([20], dtype=np.int32)),
        Plane([[2, 2, 2], [2, 2, -1]], 30),
    ]
    labels = LayeredLabels.of(layers)
    classes, numbers = labels.pixels(WINDOW)
    assert classes.tolist() == [[0, 1, 2], [2, 1, -1]]
    assert numbers.tolist() == [[10, 20, 30], [30, 20, -1]]
    assert labels.centred.tolist() == [20]
    other = LayeredLabels.of(layers[::-1]).pixels(WINDOW)[0]
    assert other.tolist() == [[2, 2, 2], [2, 2, -1]]


def test_no_layers_have_no_class() -> None:
    classes, numbers = LayeredLabels.of([]).pixels(WINDOW)
    assert (classes == UNLABELLED).all()
    assert (numbers == UNLABELLED).all()
    assert classes.shape == numbers.shape == (2, 3)


def classified_by_hand(classes: np.ndarray, numbers: np.ndarray) -> tuple[int, float, int]:
    seen = [label for label in classes.ravel().tolist() if label >= 0]
    if not seen:
        return UNLABELLED, 0.0, UNLABELLED
    label = min(set(seen), key=lambda value: (-seen.count(value), value))
    polygons = numbers[classes == label].tolist()
    polygon = min(set(polygons), key=lambda value: (-polygons.count(value), value))
    return label, seen.count(label) / classes.size, polygon


@examples(100)
@given(st.integers(1, 3).flatmap(lambda side: st.tuples(
    arrays(np.int16, (4, side, side), elements=st.integers(-1, 2)),
    arrays(np.int32, (4, side, side), elements=st.integers(0, 2)),
)))  # fmt: skip
def test_cells_as_counted_by_hand(pixels: tuple[np.ndarray, np.ndarray]) -> None:
    classes, numbers = pixels
    numbers = np.where(classes < 0, -1, numbers + 10 * classes).astype(np.int32)
    label, purity, polygon = classify_cells(classes, numbers, 3)
    for cell in range(4):
        expected = classified_by_hand(classes[cell], numbers[cell])
        assert (label[cell], polygon[cell]) == (expected[0], expected[2])
        assert purity[cell] == np.float32(expected[1])


def test_of_equal_shares_the_class_that_stands_first() -> None:
    classes = np.array([[[2, 2], [1, 1]]], dtype=np.int16)
    label, purity, _ = classify_cells(classes, np.zeros((1, 2, 2), dtype=np.int32), 3)
    assert (label.tolist(), purity.tolist()) == ([1], [0.5])
