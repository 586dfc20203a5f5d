"""The arithmetic of `benchmarks/label_errors.py`."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "label_errors.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("label_errors_benchmark", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_labels_are_planted_into_other_classes_as_often_as_asked_and_as_likely(benchmark):
    true = np.repeat([0, 1, 2], 400)
    odds = np.array([[9, 1, 0], [1, 9, 3], [1, 1, 9]])
    planted = benchmark.wrong_labels(true, 0.5, odds, np.random.default_rng(0))
    wrong = planted != true
    assert wrong.sum() == 600
    assert set(planted[wrong & (true == 0)]) == {1}
    to_two = (planted[wrong & (true == 1)] == 2).mean()
    assert to_two == pytest.approx(0.75, abs=0.1)


def test_the_roc_auc_is_the_share_of_pairs_in_order(benchmark):
    random = np.random.default_rng(0)
    score, truth = random.integers(0, 6, 40).astype(float), random.random(40) < 0.3
    pairs = [(a > b) + (a == b) / 2 for a in score[truth] for b in score[~truth]]
    assert benchmark.roc_auc(score, truth) == pytest.approx(np.mean(pairs))


def test_precision_and_recall_of_a_choice(benchmark):
    chosen, wrong = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    expected = {"images": 3, "precision": pytest.approx(1 / 3), "recall": 0.5}
    assert benchmark.of_set(chosen, wrong) == expected
    ranked = benchmark.of_ranking(np.array([0.9, 0.8, 0.1, 0.7, 0.0]), wrong)
    assert ranked == {"roc_auc": pytest.approx(5 / 6), "precision_at_planted": 0.5}
