# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Arrays that a program is to use in place and cannot: each is told in a sentence, and nothing is computed."""

import numpy as np
import pst
import pytest
from conftest import CONFIG, write_model
from pst import _pst

TEXT = (
    "func.func @main(%x: tensor<4x6xf32>, %y: tensor<4x6xf32>) -> (tensor<4x6xf32>, tensor<4x6xf32>) {\n"
    "  %s = arith.addf %x, %y : tensor<4x6xf32>\n"
    "  %d = arith.subf %x, %y : tensor<4x6xf32>\n"
    "  return %s, %d : tensor<4x6xf32>, tensor<4x6xf32>\n}\n"
)


@pytest.fixture(scope="module")
def function():
    return pst.compile(TEXT).function("main")


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((4, 6), np.float32) for _ in range(2)]


def outputs(function):
    return [output.name for output in function.outputs]


def test_an_output_has_memory_of_its_own(function, arrays):
    x, y = arrays
    first, second = outputs(function)
    memory = np.zeros(60, np.float32)
    memory[:24] = x.reshape(-1)
    inside = memory[:24].reshape(4, 6)
    shifted = memory[23:47].reshape(4, 6)
    free = np.empty((4, 6), np.float32)
    for out, told in (
        ([x, free], f"output '{first}' shares memory with input 'x'"),
        ([free, y], f"output '{second}' shares memory with input 'y'"),
        ([free, free], f"output '{first}' shares memory with output '{second}'"),
    ):
        with pytest.raises(pst.Error, match=told + ": give it memory of its own"):
            function(x, y, out=out)
    with pytest.raises(pst.Error, match=f"output '{first}' shares memory with input 'x'"):
        function(inside, y, out=[shifted, free])
    # Neighbours do not overlap, and two inputs may be one array.
    beside = memory[24:48].reshape(4, 6)
    function(inside, y, out=[beside, free])
    np.testing.assert_array_equal(beside, x + y)
    np.testing.assert_array_equal(function(x, x)[1], np.zeros((4, 6), np.float32))


def test_an_output_may_be_written(function, arrays):
    first = outputs(function)[0]
    frozen = np.empty((4, 6), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(pst.Error, match=f"'main': output '{first}' is read-only: give an array that may be written"):
        function(*arrays, out=[frozen, np.empty((4, 6), np.float32)])
    # To be read, it will do.
    np.testing.assert_array_equal(function(frozen, frozen)[1], frozen - frozen)
    with pytest.raises(pst.Error, match=f"output '{first}' must be an array or a tensor .* which this list does not"):
        function(*arrays, out=[[0.0], np.empty((4, 6), np.float32)])
    with pytest.raises(pst.Error, match="input 'x' must be an array or a tensor .* which this ndarray does not"):
        function(np.full((4, 6), "a", object), arrays[1])


def test_arrays_that_are_read_otherwise_than_they_lie(function, arrays):
    x, y = arrays
    odd = np.zeros(4 * 6 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(4, 6)
    with pytest.raises(pst.Error, match="input 'x' must lie at a multiple of the 4 bytes of an element; pass a copy"):
        function(odd, y)
    with pytest.raises(ValueError, match=r"input 'y' is masked, which a program cannot see: pass \.filled\(VALUE\) of it"):
        function(x, np.ma.array(y, mask=y > 0))
    first, second = outputs(function)
    with pytest.raises(TypeError, match=rf"out must be a list of 'main's outputs, out=\[{first}, {second}\]"):
        function(x, y, out=np.empty((2, 4, 6), np.float32))


def test_tensors_that_torch_has_not_computed_yet(function, arrays):
    torch = pytest.importorskip("torch")
    x, y = map(torch.from_numpy, arrays)
    negated = torch.complex(x, y).conj().imag
    assert negated.is_neg() and torch.equal(negated, -y)
    with pytest.raises(ValueError, match=r"input 'y' is to be negated when it is read \(is_neg\(\)\): pass .resolve_neg\(\)"):
        function(x, negated)
    lazy = torch.complex(x, y).conj()
    with pytest.raises(ValueError, match=r"input 'x' is to be conjugated when it is read \(is_conj\(\)\)"):
        function(lazy, y)
    with pytest.raises(ValueError, match=r"output '.*' is to be negated when it is read"):
        function(x, y, out=[negated, torch.empty(4, 6)])
    torch.testing.assert_close(function(x, negated.resolve_neg().contiguous())[0], x - y)


@pytest.mark.parametrize("rows, told", [
    ([-1], r"the data: there is no row -1; rows go from 0 to 6"),
    ([0, 7], r"the data: there is no row 7; rows go from 0 to 6"),
    ([10**9], r"the data: there is no row 1000000000; rows"),
    ([], r"a batch of 3 rows cannot hold 0"),
    ([0, 1, 2, 3], r"a batch of 3 rows cannot hold 4"),
])  # fmt: skip
def test_rows_that_there_are_not(trainable, rows, told):
    model, data = trainable
    with pytest.raises(pst.Error, match=told):
        model.forward_backward(data, rows, 1.0, 0)


@pytest.mark.parametrize("rows", [[2**63], [-(2**63) - 1], [1.5], ["1"], [None], 3, None, "12", [[0]], np.ones(2, np.float32)])
def test_rows_that_are_none(trainable, rows):
    model, data = trainable
    with pytest.raises(TypeError, match="rows must be whole numbers, from 0 and below the number of rows"):
        model.forward_backward(data, rows, 1.0, 0)


def test_rows_of_numpy(trainable):
    model, data = trainable
    loss = model.forward_backward(data, [5, 0], 1.0, 0)
    for rows in (np.array([5, 0]), np.array([5, 0], np.int32), [np.int64(5), np.uint8(0)], (5, 0), range(5, -5, -5)):
        assert model.forward_backward(data, rows, 1.0, 0) == loss


@pytest.fixture
def trainable(tmp_path):
    """A model of _pst with seven examples."""
    directory = write_model(tmp_path / "model", {**CONFIG, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    program = _pst.compile_model(str(directory), {"batch_size": 3, "sequence_length": 4, "num_labels": 2, "training": True})
    rng = np.random.default_rng(3)
    ids = rng.integers(5, 20, (7, 4)).astype(np.int32)
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return _pst.Model(program, str(directory)), _pst.Dataset.of({**arrays, "labels": ids[:, 0] % 2})
