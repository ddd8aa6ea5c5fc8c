"""Pictures of the labels that are most likely wrong."""

from __future__ import annotations

import numpy as np

from pipeline.learn.report import figures
from pipeline.learn.report.evaluation_figures import worst_labels
from pipeline.learn.stats.label_issues import label_issues
from tests.learn.report.test_figures import assert_legible, words
from tests.support.stores import make_store


def issues_of(store, rows, wrong):
    """The issues of a store whose polygons of these numbers look like the next class."""
    truth, numbers = store.patches["label"][rows], store.patches["polygon"][rows]
    looks_like = (truth + np.isin(numbers, wrong)) % 3
    return label_issues(truth, np.eye(3)[looks_like] * 0.7 + 0.1, numbers)


def test_the_ten_first_labels_are_shown_by_their_example_cells(tmp_path):
    store = make_store(tmp_path / "patches", count=576)
    rows = np.arange(20, 500)
    issues = issues_of(store, rows, range(1, 25, 2))
    assert len(issues) == 12
    figure = worst_labels(store, rows, issues)
    assert_legible(figure)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 10
    titles = [info.title for info in store.meta.classes]
    for place, axes in enumerate(shown):
        label = store.patches["label"][rows[issues.example[place]]]
        assert " ".join(axes.get_title().split()) == (
            f"{place + 1}: labelled {titles[label]} looks like {titles[(label + 1) % 3]} (80%) "
            f"100% of {issues.cells[place]} cells contradict"
        )
    assert any("most likely wrong" in text for text in words(figure))
    red_green_blue = store.pixels[:, [2, 1, 0]]
    limits = figures.stretch(red_green_blue[rows])
    for example, axes in zip(issues.example.tolist(), shown, strict=False):
        picture = figures.picture(red_green_blue[rows[example]], limits)
        assert (np.asarray(axes.images[0].get_array()) == picture).all()


def test_without_an_issue_the_figure_says_so(tmp_path):
    store = make_store(tmp_path / "patches", count=64)
    rows = np.arange(64)
    figure = worst_labels(store, rows, issues_of(store, rows, []))
    assert_legible(figure)
    assert any("No label is contradicted" in text for text in words(figure))
