# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What several threads of Python share: they take turns, and the bits are those of one thread."""

import os
import subprocess
import sys
import threading

import numpy as np
import pst
import pytest
from conftest import CONFIG, WORDS, write_model
from pst import _pst

THREADS = 4

# The first product is stored in the program's workspace, and read by the second.
TEXT = (
    "func.func @main(%x: tensor<37x23xf32>, %w: tensor<41x23xf32>, %v: tensor<19x41xf32>) -> tensor<37x19xf32> {\n"
    "  %y = nn.linear %x, %w : tensor<37x23xf32>, tensor<41x23xf32> -> tensor<37x41xf32>\n"
    "  %z = nn.linear %y, %v : tensor<37x41xf32>, tensor<19x41xf32> -> tensor<37x19xf32>\n"
    "  return %z : tensor<37x19xf32>\n}\n"
)


def in_threads(*works):
    """Runs the functions at once; their results. An exception of one is raised."""
    results, errors = [None] * len(works), []
    start = threading.Barrier(len(works))

    def run(index, work):
        try:
            start.wait()
            results[index] = work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=item) for item in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def test_one_function_of_several_threads():
    function = pst.compile(TEXT)
    rng = np.random.default_rng(0)
    shapes = [(37, 23), (41, 23), (19, 41)]
    inputs = [[rng.standard_normal(shape, np.float32) for shape in shapes] for _ in range(THREADS)]
    serial = [function(*arrays) for arrays in inputs]
    for (x, w, v), result in zip(inputs, serial):
        np.testing.assert_allclose(result, x.astype(float) @ w.T.astype(float) @ v.T.astype(float), rtol=1e-4, atol=1e-4)

    def call(arrays, expected):
        return lambda: sum(not np.array_equal(function(*arrays), expected) for _ in range(200))

    assert in_threads(*map(call, inputs, serial)) == [0] * THREADS


def test_one_compiled_model_of_several_threads(model):
    program = pst.compile(model, batch_size=2, sequence_length=7, new_head=True)
    rng = np.random.default_rng(1)
    ids = [rng.integers(5, len(WORDS), (3, 7)) for _ in range(THREADS)]
    # No thread finds the function made: they make it once.
    first = in_threads(*[lambda given=given: program(given) for given in ids])
    serial = [program(given) for given in ids]
    np.testing.assert_array_equal(first, serial)
    assert not np.array_equal(serial[0], serial[1])

    def call(given, expected):
        return lambda: sum(not np.array_equal(program(given), expected) for _ in range(50))

    assert in_threads(*map(call, ids, serial)) == [0] * THREADS


@pytest.fixture
def trainable(tmp_path):
    """A model of _pst with data, and the data's arrays."""
    directory = write_model(tmp_path / "model", {**CONFIG, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    options = {"batch_size": 3, "sequence_length": 6, "num_labels": 2, "training": True}
    rng = np.random.default_rng(2)
    arrays = {
        "input_ids": rng.integers(5, len(WORDS), (7, 6)).astype(np.int32),
        "attention_mask": np.ones((7, 6), np.int32),
        "token_type_ids": np.zeros((7, 6), np.int32),
        "labels": rng.integers(0, 2, 7).astype(np.int32),
    }
    model = _pst.Model(_pst.compile_model(str(directory), options), str(directory))
    return model, _pst.Dataset.of(arrays)


def test_one_model_of_several_threads(trainable):
    model, data = trainable
    losses = [model.forward_backward(data, [row], 1.0, 0) for row in range(THREADS)]
    logits = [_pst.evaluate(model, data, sparsity)["logits"] for sparsity in (0.0, 0.5)]
    assert len(set(losses)) == THREADS and not np.array_equal(*logits)
    sparsities = (0.0, 0.5)

    def evaluate(which):
        return lambda: sum(
            not np.array_equal(_pst.evaluate(model, data, sparsities[which])["logits"], logits[which]) for _ in range(40)
        )

    # Each evaluation makes its own selection; losses need that of 0.5.
    assert in_threads(evaluate(0), evaluate(1), evaluate(0)) == [0, 0, 0]
    model.select(0.0)
    losses = [model.forward_backward(data, [row], 1.0, 0) for row in range(THREADS)]

    def loss(row):
        return lambda: sum(model.forward_backward(data, [row], 1.0, 0) != losses[row] for _ in range(100))

    assert in_threads(*map(loss, range(THREADS))) == [0] * THREADS


def make_trainer(model, run, **more):
    examples = [("the film was good", "1"), ("not great", "0")] * 4
    return pst.Trainer(model, examples, examples, output_dir=str(run), per_device_train_batch_size=2, max_steps=6, **more)


def test_threads_predict_with_one_classifier(tmp_path, model):
    trainer = make_trainer(model, tmp_path / "run")
    trainer.train()
    trainer.save()
    texts = [["good"] * 5, ["not the bad film"] * 2, ["the film was good , not great"], ["bad food and not good"] * 3]
    alone = pst.load(trainer.options.output_dir + "/model")
    alone.predict(max(texts, key=lambda given: len(given[0])))  # later ones have room
    expected = [alone.predict(given) for given in texts]
    shared = pst.load(trainer.options.output_dir + "/model")
    for _ in range(5):
        for found, wanted in zip(in_threads(*[lambda given=given: shared.predict(given) for given in texts]), expected):
            assert [item["class"] for item in found] == [item["class"] for item in wanted]
            np.testing.assert_allclose(
                [item["probability"] for item in found], [item["probability"] for item in wanted], rtol=1e-5
            )


def test_a_second_thread_is_told_that_one_trains(tmp_path, model):
    told = []

    def ask(work):
        try:
            work()
        except pst.Error as error:
            told.append(str(error))

    class Look(pst.Callback):
        def on_step_end(self, record):
            model = trainer.model
            for work in (trainer.train, trainer.evaluate, lambda: model.parameter("classifier.weight")):
                thread = threading.Thread(target=ask, args=(work,))
                thread.start()
                thread.join(60)
                assert not thread.is_alive()
            # The thread that trains may look between steps, and not begin again.
            assert np.isfinite(model.parameter("classifier.weight")).all() and trainer.evaluate()["examples"] == 8
            ask(lambda: _pst.train(model, trainer._runtime_options, trainer._train))

    trainer = make_trainer(model, tmp_path / "run", callbacks=[Look()])
    assert trainer.train()["step"] == 6
    second = "another thread trains the model: wait until its train() returns, or use the model between steps, in a callback of that train()"
    again = "train() was called in a callback of a train() of the same model"
    assert told == [second, second, second, again] * 6
    # Nothing is left behind: the next one may use it.
    assert in_threads(trainer.evaluate)[0]["examples"] == 8


def test_threads_compile_at_once(model):
    def manifest():
        return _pst.compile_model(str(model), {"num_labels": 2, "sequence_length": 5, "cache": False}).manifest

    whole = manifest()
    assert in_threads(*[manifest] * 3) == [whole] * 3


# libomp's own answer, asked from the thread that compiled and from one that comes later.
WAITING = """
import ctypes, sys, threading
import pst
pst.compile(sys.argv[1])
libomp = ctypes.CDLL(next(line.split()[-1] for line in open("/proc/self/maps") if "libomp" in line))
found = [libomp.kmp_get_blocktime()]
thread = threading.Thread(target=lambda: found.append(libomp.kmp_get_blocktime()))
thread.start(), thread.join()
print(found)
"""


def test_what_a_process_of_the_same_number_left_unfinished():
    """libomp's note in shared memory, empty: reading it ends in SIGBUS."""
    script = """
import os, pst
note = f"/dev/shm/__KMP_REGISTERED_LIB_{os.getpid()}_{os.getuid()}"
assert not os.path.exists(note), "libomp was called already"
open(note, "x").close()
print(pst.compile("func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> { return %x : tensor<2xf32> }")(__import__("numpy").ones(2, "f")))
assert os.path.getsize(note) > 0
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.returncode, done.stderr)


@pytest.mark.parametrize("own, expected", [({}, 1), ({"KMP_BLOCKTIME": "7"}, 7), ({"OMP_WAIT_POLICY": "passive"}, 0)])
def test_threads_that_wait_leave_their_cores_soon(own, expected):
    """After a millisecond, unless the environment says otherwise."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KMP_", "OMP_"))}
    done = subprocess.run([sys.executable, "-c", WAITING, TEXT], env={**environment, **own}, capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == str([expected, expected]), done.stderr
