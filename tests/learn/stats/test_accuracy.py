from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from pipeline.learn.stats.accuracy import Scores, most_confident_mistakes, table
from tests.support.examples import examples

# Congalton and Green, table 4.1 of the 1999 edition: deciduous, conifer, agriculture, shrub. The book
# has the map in rows, we have the truth in rows.
BOOK = np.array([[65, 4, 22, 24], [6, 81, 5, 8], [0, 11, 85, 19], [4, 7, 3, 90]]).T


def of_matrix(matrix: np.ndarray) -> Scores:
    """The scores of patches that give a confusion matrix."""
    truth, predicted = (index.ravel() for index in np.indices(matrix.shape))
    counts = matrix.ravel()
    return Scores.of(np.repeat(truth, counts), np.repeat(predicted, counts), len(matrix))


def test_the_example_of_the_book():
    scores = of_matrix(BOOK)
    assert (scores.confusion == BOOK).all()
    assert scores.accuracy == pytest.approx(321 / 434)
    recalls = [65 / 75, 81 / 103, 85 / 115, 90 / 141]  # producer's: 87, 79, 74, 64 %
    precisions = [65 / 115, 81 / 100, 85 / 115, 90 / 104]  # user's: 57, 81, 74, 87 %
    assert [row.recall for row in scores.per_class] == pytest.approx(recalls)
    assert [row.precision for row in scores.per_class] == pytest.approx(precisions)
    assert [row.support for row in scores.per_class] == [75, 103, 115, 141]
    assert scores.balanced_accuracy == pytest.approx(sum(recalls) / 4)
    assert scores.kappa == pytest.approx(0.65, abs=0.005)
    f1 = [2 * r * p / (r + p) for r, p in zip(recalls, precisions, strict=True)]
    assert scores.macro_f1 == pytest.approx(sum(f1) / 4)
    assert scores.worst_confusion == (3, 0, 24)


@given(
    st.integers(2, 6).flatmap(
        lambda k: st.tuples(
            st.just(k),
            st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=60),
        )
    )
)
@examples(60)
@pytest.mark.filterwarnings("ignore::UserWarning")  # sklearn about classes that are not there
def test_as_scikit_learn_has_it(case):
    classes, pairs = case
    truth, predicted = np.array(pairs).T
    scores, labels = Scores.of(truth, predicted, classes), list(range(classes))
    assert (scores.confusion == metrics.confusion_matrix(truth, predicted, labels=labels)).all()
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert scores.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    kappa = metrics.cohen_kappa_score(truth, predicted)
    assert scores.kappa == pytest.approx(1.0 if np.isnan(kappa) else kappa)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, predicted, labels=labels, zero_division=0
    )
    assert [row.precision for row in scores.per_class] == pytest.approx(precision)
    assert [row.recall for row in scores.per_class] == pytest.approx(recall)
    assert [row.f1 for row in scores.per_class] == pytest.approx(f1)
    assert [row.support for row in scores.per_class] == support.tolist()
    assert scores.macro_f1 == pytest.approx(f1[support > 0].mean())


def test_a_class_without_test_patches_counts_in_no_mean():
    scores = Scores.of(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2]), 4)
    assert scores.balanced_accuracy == pytest.approx((1 + 0.5) / 2)
    assert scores.macro_f1 == pytest.approx((1 + 2 / 3) / 2)
    empty = scores.per_class[3]
    assert (empty.precision, empty.recall, empty.f1, empty.support) == (0, 0, 0, 0)


def test_a_perfect_classification_confuses_nothing():
    scores = Scores.of(np.array([0, 1, 1]), np.array([0, 1, 1]), 2)
    assert scores.worst_confusion is None
    assert set(scores.numbers.values()) == {1.0}


@pytest.mark.parametrize(("truth", "predicted"), [([], []), ([0], [0, 1])])
def test_nothing_to_compare_is_refused(truth, predicted):
    with pytest.raises(ValueError, match="true and"):
        Scores.of(np.array(truth, dtype=int), np.array(predicted, dtype=int), 2)


def test_most_confident_mistakes_come_first():
    probabilities = np.array(
        [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7], [0.05, 0.95]], dtype=np.float32
    )
    truth = np.array([0, 1, 0, 0, 1])  # rows 1, 2 and 3 are wrong; 1 and 3 are as sure as each other
    assert most_confident_mistakes(truth, probabilities, 10).tolist() == [2, 1, 3]
    assert most_confident_mistakes(truth, probabilities, 1).tolist() == [2]
    assert most_confident_mistakes(truth, probabilities, 0).tolist() == []
    assert most_confident_mistakes(probabilities.argmax(axis=1), probabilities, 5).tolist() == []


def test_the_table_has_a_row_a_model():
    text = table({"network": of_matrix(BOOK), "majority": of_matrix(np.array([[3, 0], [1, 0]]))})
    head, network, majority = text.splitlines()
    assert head.split() == ["accuracy", "balanced", "kappa", "macro", "F1"]
    assert network.split() == ["network", "0.740", "0.758", "0.654", "0.739"]
    assert majority.split() == ["majority", "0.750", "0.500", "0.000", "0.429"]
