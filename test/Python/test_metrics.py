# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Metrics of an evaluation against scikit-learn and SciPy, on the logits that it returns."""

import numpy as np
import pytest
from conftest import CONFIG, WORDS, bert_tensors, write_model

import pst

sklearn_metrics = pytest.importorskip("sklearn.metrics")
scipy = pytest.importorskip("scipy")
import scipy.special  # noqa: E402
import scipy.stats  # noqa: E402


def rows(count, label, seed=0):
    """Random sentences with labels that `label` makes of a generator."""
    rng = np.random.default_rng(seed)
    return [(" ".join(WORDS[i] for i in rng.integers(5, 16, rng.integers(1, 9))), label(rng)) for _ in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = {**CONFIG, "num_hidden_layers": 1}
    return write_model(tmp_path_factory.mktemp("metrics") / "m", config, bert_tensors(config, 3))


def evaluated(model, tmp_path, train, eval, **options):
    """An evaluation of a model that was trained for a moment."""
    settings = {"max_steps": 4, "learning_rate": 3e-2, "method": "lora", "save_strategy": "no", "eval_strategy": "no", **options}
    trainer = pst.Trainer(model, train, eval, output_dir=tmp_path / "run", report_to="none", **settings)
    trainer.train()
    evaluation = trainer.evaluate()
    return evaluation["metrics"], evaluation["logits"].astype(np.float64)


def test_two_classes(model, tmp_path):
    eval = rows(37, lambda rng: ("no", "yes")[rng.integers(2)], 1)
    ours, logits = evaluated(model, tmp_path, rows(32, lambda rng: ("no", "yes")[rng.integers(2)]), eval)
    labels, predicted = np.array([label == "yes" for _, label in eval]).astype(int), logits.argmax(1)
    assert len(set(predicted)) == 2
    assert ours == pytest.approx({
        "accuracy": sklearn_metrics.accuracy_score(labels, predicted),
        "matthews": sklearn_metrics.matthews_corrcoef(labels, predicted),
        "f1": sklearn_metrics.f1_score(labels, predicted),
        "macro_f1": sklearn_metrics.f1_score(labels, predicted, average="macro"),
        "auc": sklearn_metrics.roc_auc_score(labels, logits[:, 1] - logits[:, 0]),
    }, rel=1e-12)  # fmt: skip


@pytest.mark.parametrize("classes", [3, 7])
def test_more_classes(model, tmp_path, classes):
    data = [rows(61, lambda rng: f"c{rng.integers(classes)}", seed) for seed in (0, 1)]
    ours, logits = evaluated(model, tmp_path, *data)
    labels, predicted = np.array([int(label[1]) for _, label in data[1]]), logits.argmax(1)
    assert ours == pytest.approx({
        "accuracy": sklearn_metrics.accuracy_score(labels, predicted),
        "matthews": sklearn_metrics.matthews_corrcoef(labels, predicted),
        "macro_f1": sklearn_metrics.f1_score(labels, predicted, average="macro"),
        "auc": sklearn_metrics.roc_auc_score(labels, scipy.special.softmax(logits, 1), multi_class="ovr", average="macro"),
    }, rel=1e-12)  # fmt: skip


def test_a_class_without_examples_has_no_area(model, tmp_path):
    """And counts for the mean F1 only where it is predicted."""
    eval = rows(40, lambda rng: f"c{rng.integers(2)}", 1)
    ours, logits = evaluated(model, tmp_path, rows(32, lambda rng: f"c{rng.integers(3)}"), eval)
    labels = np.array([int(label[1]) for _, label in eval])
    assert np.isnan(ours["auc"])
    assert ours["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, logits.argmax(1), average="macro", zero_division=0))


def test_regression(model, tmp_path):
    data = [rows(29, lambda rng: round(float(rng.standard_normal()), 1) + 0.05, seed) for seed in (0, 1)]
    ours, logits = evaluated(model, tmp_path, *data)
    labels, predicted = np.array([label for _, label in data[1]], np.float32).astype(np.float64), logits[:, 0]
    assert ours == pytest.approx({
        "pearson": scipy.stats.pearsonr(labels, predicted)[0],
        "spearman": scipy.stats.spearmanr(labels, predicted)[0],
        "mse": sklearn_metrics.mean_squared_error(labels, predicted),
    }, rel=1e-9)  # fmt: skip


def indicators(columns, never=()):
    """Lists of 0 and 1, some of them all 0; a label of `never` is none's."""
    return lambda rng: [int(rng.random() < 0.4 and k not in never) for k in range(columns)]


@pytest.mark.parametrize("columns, never", [(2, ()), (5, ()), (4, (2,))])
def test_several_labels(model, tmp_path, columns, never):
    """By the counts, in float64, and by scikit-learn; a label that nobody has nor gets counts 0 for the mean."""
    data = [rows(43, indicators(columns, never), seed) for seed in (0, 1)]
    ours, logits = evaluated(model, tmp_path, *data)
    truth, predicted = np.array([label for _, label in data[1]]), logits > 0
    np.testing.assert_array_equal(predicted, scipy.special.expit(logits) > 0.5)
    hits, misses = (predicted & (truth == 1)).sum(0).astype(float), (predicted != (truth == 1)).sum(0).astype(float)
    each = np.divide(2 * hits, 2 * hits + misses, out=np.zeros(columns), where=hits > 0)
    micro = 2 * hits.sum() / (2 * hits.sum() + misses.sum())
    whole = (predicted == (truth == 1)).all(1).mean()
    assert ours == pytest.approx({"micro_f1": micro, "macro_f1": each.mean(), "subset_accuracy": whole}, rel=1e-12)
    assert ours == pytest.approx({
        "micro_f1": sklearn_metrics.f1_score(truth, predicted, average="micro", zero_division=0),
        "macro_f1": sklearn_metrics.f1_score(truth, predicted, average="macro", zero_division=0),
        "subset_accuracy": sklearn_metrics.accuracy_score(truth, predicted),
    }, rel=1e-12)  # fmt: skip


@pytest.mark.parametrize("name, spelled", [("micro_f1", "eval_f1_micro"), ("macro_f1", "macro_f1"), ("micro_f1", "")])
def test_the_best_model_of_several_labels(model, tmp_path, name, spelled):
    data = [rows(16, indicators(3), seed) for seed in (0, 1)]
    trainer = pst.Trainer(model, *data, output_dir=tmp_path / "run", metric_for_best_model=spelled)
    assert trainer.plan["metric"] == name and trainer.plan["greater_is_better"]
    with pytest.raises(pst.Error, match="must be one of loss, micro_f1, macro_f1, subset_accuracy for this model, but is accuracy"):
        pst.Trainer(model, *data, output_dir=tmp_path / "run", metric_for_best_model="accuracy")


@pytest.mark.parametrize("name, spelled", [("macro_f1", "eval_f1_macro"), ("auc", "roc_auc"), ("matthews", "matthews_correlation")])
def test_the_best_model_may_be_chosen_by_them(model, tmp_path, name, spelled):
    data = [rows(16, lambda rng: f"c{rng.integers(2)}", seed) for seed in (0, 1)]
    trainer = pst.Trainer(model, *data, output_dir=tmp_path / "run", metric_for_best_model=spelled)
    assert trainer.plan["metric"] == name and trainer.plan["greater_is_better"]
