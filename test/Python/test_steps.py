# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""25 steps of every method, and of pst with parts of its score left out, against the eager float64 model: each loss, norm
and mask, and at the end every trained parameter. Those of pst and pst_wanda as they are: test_parity.py, test_pst_wanda.py.
Below them a regression and RoBERTa, without padding too."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import eager  # noqa: E402
import steps  # noqa: E402
from test_gpt2 import roberta_batch, save_roberta  # noqa: E402
from test_parity import METHODS, VARIANTS, build, distance, random_batch, randomise, save_model  # noqa: E402
from test_pst_wanda import PST_WANDA, bert_layers  # noqa: E402

from pst import TensorFile, write_tensors  # noqa: E402
from pst.options import METHODS as ALL  # noqa: E402

FACTORS = {"weight_rank": 4, "weight_beta": 1.5}
CASES = {
    **{name: method for name, method in METHODS.items() if name != "pst"},
    **{name: method for name, method in VARIANTS.items() if name != "modules to save"},
    "pst_wanda, detached": {**PST_WANDA, "detach_magnitude": True},
    "wanda": {"method": "wanda", **FACTORS},
    "ria": {"method": "ria", **FACTORS},
}
SELECTIONS = {"dense": None, "lora": "", "mvp": "topk layer", "sparse_lora": "topk layer", "ria": "topk layer", "wanda": "topk row"}
SHAPE = {"hidden_size": 24, "intermediate_size": 37, "num_hidden_layers": 1, "num_attention_heads": 3, "hidden_act": "relu", "num_labels": 1}
ONE_SHOT = ("wanda", "ria")
TOTAL, SPARSITY = 25, 0.7


pytestmark = pytest.mark.usefixtures("one_thread")


def write_calibration(path, directory):
    """Norms that were measured, as it were, and the sums of RIA."""
    rng, file, tensors = np.random.default_rng(9), TensorFile(directory), {}
    for name, inputs in bert_layers(file):
        magnitude = np.abs(np.array(file.read(name), np.float64))
        found = {"": rng.uniform(0.2, 3.0, inputs), ".relative": rng.uniform(0.2, 3.0, inputs), ".rows": magnitude.sum(1), ".columns": magnitude.sum(0)}
        tensors |= {name + what: value.astype(np.float32) for what, value in found.items()}
    write_tensors(str(path), tensors)
    return str(path)


def test_no_method_is_left_out():
    assert {"pst", *(case["method"] for case in CASES.values())} == set(ALL)


@pytest.mark.parametrize("case, target", [(case, "cpu") for case in CASES] + [(case, "emulated") for case in ("wanda", "ria")])
def test_25_steps_follow_the_eager_model(tmp_path, case, target):
    save_model(tmp_path / "m", 2, **SHAPE)
    options = CASES[case]
    measured = {"calibration_file": write_calibration(tmp_path / "c.safetensors", tmp_path / "m")} if "wanda" in case or case == "ria" else {}
    _, model = build(tmp_path / "m", 4, 8, target=target, **options, **measured)
    randomise(model, 3)
    reference = eager.Bert(model)
    assert reference.selection == SELECTIONS.get(case, "topk global")
    once = options["method"] in ONE_SHOT
    # With a large epsilon Adam does not blow up the rounding of gradients that are zero.
    settings = {"epsilon": 1e-4, "decay": 0.1, "max_norm": 0.5}
    differing, elements = steps.follow(
        model, reference, random_batch(np.random.default_rng(4), 20, 8, 1), TOTAL, 4, SPARSITY, initial=SPARSITY if once else 0.2,
        rate=lambda step: eager.learning_rate_at(step, TOTAL, 2, 2e-3), **settings,
    )  # fmt: skip
    assert (elements > 0) == bool(reference.selection)
    for name in reference.trained:
        change = distance(np.array(model.parameter(name), np.float64), reference.values[name].detach().numpy())
        assert change < (1e-3 if differing else 1e-5), name


def check_packed(tmp_path, reference, examples, capacity):
    _, model = build(tmp_path / "m", 6, 12, token_capacity=capacity, **METHODS["pst"])
    reference = reference(model)
    steps.follow(model, reference, examples, TOTAL, 6, 0.9, decay=0.1, max_norm=1.0)


def test_25_packed_steps_of_a_regression(tmp_path):
    save_model(tmp_path / "m", 2, num_labels=1)
    check_packed(tmp_path, eager.Bert, random_batch(np.random.default_rng(4), 40, 12, 1), 57)


@pytest.mark.parametrize("capacity", [0, 61])
def test_25_steps_of_roberta(tmp_path, capacity):
    _, config = save_roberta(tmp_path / "m")
    rng = np.random.default_rng(4)
    examples = roberta_batch(rng, 40, 12, config)
    examples |= {"token_type_ids": np.zeros_like(examples["input_ids"]), "labels": rng.integers(0, 3, 40).astype(np.int32)}
    check_packed(tmp_path, eager.Roberta, examples, capacity)
