# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""CompileError's text, and the options' checks."""

import pytest

from pst import CompileError, Options


def test_an_error_shows_its_line_and_a_caret():
    error = CompileError("unknown operation 'nn.linaer'", "layer.mlir", 3, 8, "  %0 = nn.linaer %x : f32\n")
    assert str(error) == (
        "layer.mlir:3:8: error: unknown operation 'nn.linaer'\n"
        "  %0 = nn.linaer %x : f32\n"
        "       ^"
    )
    assert (error.message, error.line, error.column) == ("unknown operation 'nn.linaer'", 3, 8)


def test_tabs_stay_tabs_before_the_caret():
    assert str(CompileError("m", "f", 1, 3, "\t\tx")).splitlines()[-1] == "\t\t^"


def test_a_line_without_an_end_is_shown_around_its_column():
    line = "a" * 100000 + "#" + "b" * 100000
    _, shown, caret = str(CompileError("m", "f", 1, line.index("#") + 1, line)).splitlines()
    assert len(shown) == 300 and shown[caret.index("^")] == "#"


def test_an_error_without_a_place():
    assert str(CompileError("no such method")) == "no such method"
    assert str(CompileError("m", "config.json")) == "config.json: error: m"


def test_options_take_aliases_and_refuse_unknown_ones():
    assert Options.make(final_sparsity=0.5, evaluation_strategy="no").sparsity == 0.5
    with pytest.raises(TypeError, match="there is no option 'learning_rat'; did you mean 'learning_rate'?"):
        Options.make(learning_rat=1)
    with pytest.raises(TypeError, match="'sparsity' was given twice"):
        Options.make(sparsity=0.5, final_sparsity=0.6)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"sparsity": 1.0}, r"--sparsity must be in \[0, 1\), but is 1"),
        ({"sparsity": -0.1}, r"--sparsity must be in \[0, 1\)"),
        ({"method": "dense", "sparsity": 0.5}, "--method dense prunes nothing, but --sparsity is 0.5"),
        ({"method": "psd"}, "--method must be one of pst, pst_wanda, dense, lora, sparse_lora, map, mvp, wanda, ria, but is 'psd'"),
        ({"dropout": 1.0}, r"--dropout must be in \[0, 1\)"),
        ({"max_seq_length": 2}, "--max_seq_length must be at least 3"),
        ({"weight_rank": -1}, r"--weight_rank must be in \[0, 65536\], but is -1"),
        ({"method": "lora", "weight_rank": 0}, "--weight_rank must be positive with --method lora"),
        ({"per_device_train_batch_size": 0}, "--per_device_train_batch_size must be at least 1"),
        ({"save_steps": -1}, "--save_steps must be positive"),
        ({"eval_strategy": "sometimes"}, "--eval_strategy must be one of no, epoch, steps"),
    ],
)
def test_options_out_of_range(values, message):
    with pytest.raises(ValueError, match=message):
        Options.make(**values).check()
