"""Figures are those of the libraries and of textbooks, and their intervals cover what they should."""

import numpy as np
import pytest
from sklearn import metrics as library

from edgeworthy.metrics import (
    Notes,
    by_class,
    calibration_error,
    confusions,
    discordance,
    figures,
    note,
    proportion,
    reliability,
)

NAMES = ("a", "b", "c", "d", "e", "f", "g")


def noted(probabilities, truth):
    notes = Notes()
    for row, label in zip(probabilities, truth, strict=True):
        notes.add(note(row, int(label)))
    return notes


@pytest.fixture
def answers():
    random = np.random.default_rng(3)
    logits = random.normal(size=(400, 7))
    truth = random.integers(0, 7, 400)
    logits[np.arange(400), truth] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities.astype(np.float32), truth


def test_figures_are_the_librarys(answers):
    probabilities, truth = answers
    found = figures(noted(*answers), 7)
    assert found.pictures == 400
    assert found.top1.value == pytest.approx(library.accuracy_score(truth, probabilities.argmax(1)))
    assert found.top5.value == pytest.approx(library.top_k_accuracy_score(truth, probabilities, k=5))
    exact = probabilities.astype(float) / probabilities.astype(float).sum(1, keepdims=True)
    assert found.log_loss.value == pytest.approx(library.log_loss(truth, exact), abs=1e-5)
    of_class = library.precision_recall_fscore_support(truth, probabilities.argmax(1), average="macro")
    assert (found.precision.value, found.recall.value, found.f1.value) == pytest.approx(
        of_class[:3], abs=1e-6
    )
    for one in (found.top1, found.top5, found.precision, found.recall, found.f1, found.log_loss):
        assert one.low < one.value < one.high
    assert found.calibration_error.low <= found.calibration_error.value <= found.calibration_error.high


def test_each_class_is_the_librarys(answers):
    probabilities, truth = answers
    precision, recall, f1, support = library.precision_recall_fscore_support(truth, probabilities.argmax(1))
    for ident, one in enumerate(by_class(noted(*answers), NAMES)):
        assert (one.class_id, one.name, one.pictures) == (ident, NAMES[ident], support[ident])
        assert (one.precision, one.recall.value, one.f1) == pytest.approx(
            (precision[ident], recall[ident], f1[ident]), abs=1e-6
        )


def test_the_confusion_matrix_is_the_librarys(answers):
    probabilities, truth = answers
    expected = library.confusion_matrix(truth, probabilities.argmax(1))
    found = {(one.truth, one.predicted): one.pictures for one in confusions(noted(*answers), NAMES)}
    for row in range(7):
        for column in range(7):
            assert found.get((NAMES[row], NAMES[column]), 0) == expected[row, column]


def test_top_five_of_five_classes_says_nothing(answers):
    assert figures(noted(*answers), 5).top5 is None


def test_equal_scores_and_nan_have_an_order():
    """As the ranking of predictions: of equals the first, and NaN last."""
    assert note(np.float32([0.4, 0.4, 0.2]), 1)[:2] == (1, 0)
    assert note(np.float32([0.4, 0.4, 0.2]), 1).rank == 1
    assert note(np.float32([0.4, 0.4, 0.2]), 0).rank == 0
    answer = note(np.float32([np.nan, 0.3, 0.7]), 0)
    assert (answer.predicted, answer.rank, answer.likelihood) == (2, 2, -1)


def test_a_wrong_answer_of_probability_zero_costs_no_infinity():
    found = figures(noted(np.float32([[1, 0], [0, 1]]), [1, 1]), 2)
    assert np.isfinite(found.log_loss.value)


def test_wilsons_interval():
    """R. G. Newcombe, Two-sided confidence intervals for the single proportion (1998), table I: 81 of 263."""
    interval = proportion(81, 263)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert (proportion(0, 20).low, proportion(0, 20).high) == pytest.approx((0, 0.1611), abs=1e-4)


def test_calibration_error_by_hand():
    """Two bins: four pictures at 0.9 of which three are right, one at 0.3 that is wrong."""
    confidence = np.float32([0.9, 0.9, 0.9, 0.9, 0.3])
    right = np.array([True, True, True, False, False])
    assert calibration_error(confidence, right) == pytest.approx((4 * 0.15 + 0.3) / 5, abs=1e-6)
    assert calibration_error(np.float32([1.0, 1.0]), np.array([True, True])) == 0


def test_reliability_counts_every_picture(answers):
    bins = reliability(noted(*answers))
    assert sum(one.pictures for one in bins) == 400
    assert all(one.low - 1e-6 <= one.confidence <= one.high + 1e-6 for one in bins)


def test_mcnemars_test():
    """SciPy's binomial test on the pictures that only one recognises: 10 against 2."""
    first = np.array([True] * 10 + [False] * 2 + [True] * 50)
    second = np.array([False] * 10 + [True] * 2 + [True] * 50)
    only_first, only_second, p_value = discordance(first, second)
    assert (only_first, only_second) == (10, 2)
    assert p_value == pytest.approx(0.0386, abs=1e-4)
    assert discordance(first, first)[2] == 1


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_intervals_cover_the_truth(share):
    """Of 100 experiments on 150 pictures, the population's figure is inside of 88 intervals or more."""
    random = np.random.default_rng(11)
    inside = 0
    for _ in range(100):
        hits = int((random.random(150) < share).sum())
        interval = proportion(hits, 150)
        inside += interval.low <= share <= interval.high
    assert inside >= 88


def test_macro_intervals_cover_the_truth():
    """Recall of two classes, 0.9 and 0.5: 0.7 on average."""
    random = np.random.default_rng(12)
    inside = 0
    for _ in range(6):
        truth = np.arange(120) % 2
        right = random.random(120) < np.where(truth == 0, 0.9, 0.5)
        predicted = np.where(right, truth, 1 - truth)
        rows = np.float32(np.where(np.arange(2) == predicted[:, None], 0.8, 0.2))
        recall = figures(noted(rows, truth), 2).recall
        inside += recall.low <= 0.7 <= recall.high
    assert inside >= 5
