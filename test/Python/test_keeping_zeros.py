# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""docs/SparseModels.md, "Training the sparse model further": its code keeps the zeros, and does train."""

import pathlib
import re

import pytest

GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "SparseModels.md"


def test_the_guides_loop_keeps_every_zero():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=31, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=19, num_labels=3
    )
    model = transformers.BertForSequenceClassification(config)
    sparse = model.bert.encoder.layer[0].output.dense.weight
    with torch.no_grad():
        sparse.mul_(torch.rand_like(sparse) > 0.9)
    before = sparse.detach().clone()
    batches = [{"input_ids": torch.randint(1, 31, (4, 7)), "labels": torch.tensor([0, 1, 2, 1])} for _ in range(3)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    section = GUIDE.read_text().split("## Training the sparse model further")[1]
    code = re.search(r"```python\n(.*?)```", section, re.S)[1]
    exec(code, {"model": model, "optimizer": optimizer, "batches": batches, "torch": torch})
    assert ((sparse == 0) == (before == 0)).all() and (sparse != before).any()

    # Without the last lines it would not.
    assert "mul_" in code
    exec(re.sub(r"(?s)    with torch.no_grad.*", "", code), {"model": model, "optimizer": optimizer, "batches": batches, "torch": torch})
    assert (sparse != 0).all()
