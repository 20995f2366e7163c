"""The proof must catch what it exists for, and tell what it cannot know."""

import numpy as np
import pytest

from edgeworthy.parity import TOLERANCE, verify

NAMES = ["first", "second", "third"]
LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0], [-1.0, 0.5, 0.4]])


def softmax(logits):
    values = np.exp(logits)
    return values / values.sum(axis=1, keepdims=True)


def compare(candidate, **details):
    details = {"logits": LOGITS, "activation": "softmax", "reference": softmax(LOGITS)} | details
    return verify(probes=NAMES, candidate=candidate, **details)


def test_equal_predictions_are_the_same():
    parity = compare(softmax(LOGITS))
    assert parity.verdict == "same"
    assert parity.max_abs_diff == 0
    assert parity.max_abs_diff_logits < 1e-12
    assert parity.yardstick is None


def test_a_difference_names_its_probe():
    candidate = softmax(LOGITS)
    candidate[1] += (1e-3, -1e-3, 0)
    parity = compare(candidate)
    assert (parity.verdict, parity.worst_probe, parity.max_abs_diff) == ("different", "second", 1e-3)


def test_float64_moves_the_tolerance_only_where_the_model_itself_is_rough():
    candidate = softmax(LOGITS) + 3e-5
    rough, exact = softmax(LOGITS) + 1e-5, softmax(LOGITS)
    assert compare(candidate, otherwise=lambda probe: [rough[probe]]).verdict == "same"
    assert compare(candidate, otherwise=lambda probe: [exact[probe]]).verdict == "different"
    assert compare(candidate, otherwise=lambda _: ()).tolerance == TOLERANCE


def test_float64_is_asked_on_the_worst_probes_first_and_no_longer_than_needed():
    candidate = softmax(LOGITS)
    candidate[1] += (3e-5, -3e-5, 0)
    candidate[2] += (2e-5, -2e-5, 0)
    asked = []

    def double(probe):
        asked.append(probe)
        yield softmax(LOGITS)[probe] + (1e-5 if probe == 2 else 0)
        yield softmax(LOGITS)[probe]

    parity = compare(candidate, otherwise=double, activation="none")
    assert (asked, parity.verdict, parity.yardstick) == ([1, 2], "same", 1e-5)


def test_an_arithmetic_is_not_asked_where_the_one_before_explains_the_difference():
    def others(probe):
        yield softmax(LOGITS)[probe] + 1e-5
        raise AssertionError("double precision takes time and memory")

    assert compare(softmax(LOGITS) + 3e-5, otherwise=others, activation="none").yardstick == 1e-5


@pytest.mark.parametrize(("shift", "verdict"), [(1.0, "same"), (-2.0, "same"), (12.0, "different")])
def test_what_the_best_classes_are_spared_by_chance_is_known_of_the_others(shift, verdict):
    """Rounding moves a thousand logits by 1e-4 or so; in the original it leaves the best two alone."""
    random = np.random.default_rng(4)
    logits, unit = random.standard_normal((3, 1000)), 1e-4
    logits[:, :2], logits[:, 7] = [[12, 11], [11, 12], [12, 11]], -12
    rounding = unit * random.standard_normal((3, 1000))
    rounding[:, :2] = 0
    rounding[:, 7] = 0.3  # one class that hangs on rounding says nothing of the others
    elsewhere = unit * random.standard_normal((3, 1000))
    elsewhere[:, 0] = shift * unit
    parity = verify(
        probes=NAMES,
        reference=softmax(logits),
        candidate=softmax(logits + elsewhere),
        logits=logits,
        activation="softmax",
        otherwise=lambda probe: [softmax(logits + rounding)[probe]],
    )
    assert np.abs(softmax(logits + rounding) - softmax(logits)).max() < TOLERANCE / 4
    assert parity.max_abs_diff > TOLERANCE
    assert parity.verdict == verdict
    best = softmax(logits)[:, 0].max()
    assert parity.yardstick == pytest.approx(2**0.5 * unit * best * (1 - best), rel=0.1)


def test_float64_is_not_asked_for_without_need():
    def fail(_):
        raise AssertionError

    assert compare(softmax(LOGITS), otherwise=fail).verdict == "same"


def test_the_best_class_must_agree_where_the_original_is_decided():
    near = np.array([[0.5 + 1e-6, 0.5 - 1e-6], [0.9, 0.1]])
    swapped = near[:, ::-1].copy()
    swapped[1] = near[1]
    logits = np.log(near)
    parity = verify(probes=["a", "b"], reference=near, candidate=swapped, logits=logits, activation="softmax")
    assert parity.verdict == "same"
    assert parity.top1_agreement == 0.5
    decided = verify(
        probes=["a", "b"], reference=near, candidate=swapped, logits=logits, activation="softmax", atol=1e-7
    )
    assert decided.verdict == "different"


def test_predictions_that_do_not_move_prove_nothing():
    flat = np.full((3, 3), 1 / 3)
    assert compare(flat, reference=flat).verdict == "inconclusive"


def test_a_widened_tolerance_is_told():
    parity = compare(softmax(LOGITS) + 1e-3, atol=2e-3)
    assert parity.verdict == "same"
    assert parity.widened
    assert not compare(softmax(LOGITS), atol=1e-6).widened


def test_nan_is_a_difference():
    candidate = softmax(LOGITS)
    candidate[2, 0] = np.nan
    parity = compare(candidate)
    assert (parity.verdict, parity.max_abs_diff, parity.worst_probe) == ("different", 1.0, "third")


def test_logits_are_compared_through_a_single_sigmoid():
    logits = np.array([[1.0], [-2.0], [0.5]])
    p = 1 / (1 + np.exp(-logits))
    both = np.concatenate([1 - p, p], axis=1)
    parity = compare(both, reference=both, logits=logits, activation="sigmoid")
    assert parity.max_abs_diff_logits < 1e-9
    moved = 1 / (1 + np.exp(-(logits + 0.01)))
    parity = compare(
        np.concatenate([1 - moved, moved], axis=1), reference=both, logits=logits, activation="sigmoid"
    )
    assert parity.max_abs_diff_logits == pytest.approx(0.01)


def test_probabilities_have_no_logits():
    assert compare(softmax(LOGITS), activation="none").max_abs_diff_logits is None
