# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels of nn.cross_entropy, nn.linear_cross_entropy, nn.squared_error, nn.binary_cross_entropy, nn.distillation_loss and their backwards."""

import numpy as np
import nn_reference as reference
import pytest
import torch


def program(op, rows, columns, label, weighted=False):
    x, t, s = f"tensor<{rows}x{columns}xf32>", f"tensor<{rows}x{label}>", "tensor<f32>"
    if op == "binary_cross_entropy":
        t = x
    w = f"tensor<{columns}xf32>"
    argument, weights = (f", %w: {w}", f"weights(%w : {w})") if weighted else ("", "")
    return f"""func.func @main(%x: {x}, %labels: {t}, %scale: f32, %g: {s}{argument}) -> ({s}, {x}) {{
      %loss = nn.{op} %x, %labels, %scale {weights} : {x}, {t}
      %d = nn.{op}_backward %x, %labels, %scale, %g {weights} : {x}, {t}
      return %loss, %d : {s}, {x}
    }}"""


def check(op, formula, x, labels, size):
    scale, g = np.float32(0.37), np.array(-1.7, np.float32)
    text = program(op, *x.shape, "i32" if labels.dtype == np.int32 else "f32")
    loss, dx = reference.run(text, x, labels, float(scale), g)
    (logits,) = inputs = reference.double(x)
    exact = formula(logits, labels, float(scale))
    reference.close(loss, exact, 1e-6, size=np.maximum(1e-30, size * scale))
    reference.close(dx, reference.gradients(exact, inputs, g)[0], 1e-6, size=np.full(x.shape, max(1.0, np.abs(x).max())))
    return dx


# Two classes, fewer and more than a vector, a vocabulary.
@pytest.mark.parametrize("rows, classes", [(1, 1), (1, 2), (32, 2), (7, 3), (5, 16), (11, 37), (3, 1031)])
def test_cross_entropy(rows, classes):
    x = reference.random(rows, classes, scale=4.0)
    labels = np.random.default_rng(2).integers(0, classes, rows, dtype=np.int32)
    check("cross_entropy", reference.cross_entropy, x, labels, size=10.0 * rows)


# Zero weights, no smoothing, hardly anything but smoothing.
@pytest.mark.parametrize("rows, classes, smoothing, weighted", [
    (1, 1, 0.1, True), (1, 2, 0.0, True), (32, 2, 0.1, False), (7, 3, 0.9, True), (5, 16, 0.25, True), (11, 37, 0.1, True), (3, 1031, 0.4, True),
])  # fmt: skip
def test_cross_entropy_with_weights_and_smoothing(rows, classes, smoothing, weighted):
    """Against PyTorch's own loss, in float64; rows without a label have no part."""
    x = reference.random(rows, classes, scale=4.0)
    rng = np.random.default_rng(3)
    labels = rng.integers(0, classes, rows, dtype=np.int32)
    if rows > 4:
        labels[[1, 3]] = [-100, classes]
    w = rng.uniform(0.1, 3, classes).astype(np.float32) if weighted else np.ones(classes, np.float32)
    if classes > 2:
        w[classes // 2] = 0
    xt, lt, wt, s = f"tensor<{rows}x{classes}xf32>", f"tensor<{rows}xi32>", f"tensor<{classes}xf32>", "tensor<f32>"
    text = f"""func.func @main(%x: {xt}, %labels: {lt}, %scale: f32, %g: {s}, %w: {wt}, %s: f32) -> ({s}, {xt}) {{
      %loss = nn.cross_entropy %x, %labels, %scale weights(%w : {wt}) smoothing %s : {xt}, {lt}
      %d = nn.cross_entropy_backward %x, %labels, %scale, %g weights(%w : {wt}) smoothing %s : {xt}, {lt}
      return %loss, %d : {s}, {xt}
    }}"""
    scale, g, s = np.float32(0.37), np.array(-1.7, np.float32), np.float32(smoothing)
    loss, dx = reference.run(text, x, labels, float(scale), g, w, float(s))
    (logits,) = inputs = reference.double(x)
    known = np.flatnonzero((labels >= 0) & (labels < classes))
    exact = float(scale) * torch.nn.functional.cross_entropy(
        logits[known], torch.tensor(labels[known], dtype=torch.long), torch.tensor(w, dtype=torch.float64), reduction="sum", label_smoothing=float(s)
    )
    reference.close(loss, exact, 1e-6, size=20.0 * rows * w.max())
    (expected,) = reference.gradients(exact, inputs, g)
    reference.close(dx, expected, 1e-6, size=np.full(x.shape, max(1.0, np.abs(x).max()) * w.max()))
    assert (dx[np.setdiff1d(np.arange(rows), known)] == 0).all()


def test_weights_of_one_without_smoothing_change_nothing():
    x, labels = reference.random(9, 5, scale=3.0), np.arange(9, dtype=np.int32) % 5
    plain = reference.run(program("cross_entropy", 9, 5, "i32"), x, labels, 0.5, np.array(1.0, np.float32))
    text = program("cross_entropy", 9, 5, "i32").replace(" : tensor<9x5xf32>, tensor<9xi32>", " weights(%w : tensor<5xf32>) smoothing %s : tensor<9x5xf32>, tensor<9xi32>")
    text = text.replace("%g: tensor<f32>)", "%g: tensor<f32>, %w: tensor<5xf32>, %s: f32)")
    weighted = reference.run(text, x, labels, 0.5, np.array(1.0, np.float32), np.ones(5, np.float32), 0.0)
    for one, other in zip(plain, weighted):
        np.testing.assert_array_equal(one, other)


def test_rows_without_a_label_are_no_examples():
    x = reference.random(6, 5, scale=4.0)
    x[2] = np.nan
    labels = np.array([1, -100, -1, 5, 4, np.iinfo(np.int32).min], np.int32)
    example = np.array([True, False, False, False, True, False])
    text = program("cross_entropy", 6, 5, "i32")
    loss, dx = reference.run(text, x, labels, 0.5, np.array(1.0, np.float32))
    (logits,) = reference.double(x[example])
    reference.close(loss, reference.cross_entropy(logits, labels[example], 0.5), 1e-6, size=10.0)
    assert (dx[~example] == 0).all() and (dx[example] != 0).all()


@pytest.mark.parametrize("sequences, length, classes", [(1, 1, 2), (3, 7, 5), (2, 37, 9)])
def test_labels_of_tokens_are_their_rows_own(sequences, length, classes):
    """Of B x L, in order, none of the next token; the same bits as of a vector."""
    x = reference.random(sequences * length, classes, scale=3.0)
    labels = np.random.default_rng(6).integers(0, classes, (sequences, length), dtype=np.int32)
    if length > 1:
        labels[:, 0], labels[0, length // 2] = -100, -100
    one = np.array(1.0, np.float32)
    flat = program("cross_entropy", sequences * length, classes, "i32")
    tokens = flat.replace(f"tensor<{sequences * length}xi32>", f"tensor<{sequences}x{length}xi32>")
    assert tokens != flat
    expected = reference.run(flat, x, labels.reshape(-1), 0.5, one)
    for ours, other in zip(reference.run(tokens, x, labels, 0.5, one), expected):
        assert ours.tobytes() == other.tobytes()
    (logits,) = reference.double(x)
    known = np.flatnonzero(labels.reshape(-1) >= 0)
    reference.close(expected[0], reference.cross_entropy(logits[known], labels.reshape(-1)[known], 0.5), 1e-6, size=10.0 * len(x))


def test_no_example_at_all():
    text = program("cross_entropy", 3, 2, "i32")
    loss, dx = reference.run(
        text, reference.random(3, 2), np.full(3, -100, np.int32), 0.5, np.array(1.0, np.float32)
    )
    assert loss == 0 and (dx == 0).all()


def test_large_logits_do_not_overflow():
    x = np.array([[3000.0, -3000.0, 2999.0], [-1e30, 0.0, 1e30]], np.float32)
    loss, dx = reference.run(program("cross_entropy", 2, 3, "i32"), x, np.array([1, 0], np.int32), 1.0, np.array(1.0, np.float32))
    reference.close(loss, np.float64(1e30 + 1e30), 1e-6)
    # softmax([3000, -3000, 2999]) = [e, 0, 1] / (1 + e)
    p = np.e / (1 + np.e)
    reference.close(dx, np.array([[p, -1, 1 - p], [-1, 0, 1]]), 1e-6)


@pytest.mark.parametrize("rows", [1, 5, 37])
def test_squared_error(rows):
    x, labels = reference.random(rows, 1), reference.random(rows, seed=1, scale=2.0)
    labels[1::3] = np.nan
    dx = check("squared_error", reference.squared_error, x, labels, size=40.0 * rows)
    np.testing.assert_array_equal(dx[:, 0] == 0, np.isnan(labels))


# One, fewer and more than a vector, many; a row and an element without a label.
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 2), (32, 3), (7, 16), (5, 37), (3, 1031)])
def test_binary_cross_entropy(rows, columns, weighted):
    x = reference.random(rows, columns, scale=4.0)
    labels = np.random.default_rng(5).integers(0, 2, (rows, columns)).astype(np.float32)
    if rows > 1:
        labels[1], labels[-1, 0], x[1, 0] = np.nan, np.nan, np.inf
    scale, g = np.float32(0.37), np.array(-1.7, np.float32)
    # What a label of 1 counts: nothing, less than, as much as, more than one of 0.
    weights = [np.resize(np.array([3.5, 0.0, 1.0, 0.125], np.float32), columns)] if weighted else []
    text = program("binary_cross_entropy", rows, columns, "f32", weighted)
    loss, dx = reference.run(text, x, labels, float(scale), g, *weights)
    (logits,) = inputs = reference.double(np.nan_to_num(x, posinf=0))
    exact = reference.binary_cross_entropy(logits, labels, float(scale), *weights)
    reference.close(loss, exact, 1e-6)
    reference.close(dx, reference.gradients(exact, inputs, g)[0], 1e-6, size=np.full(x.shape, 3.5 / columns))
    counts_nothing = (weights[0] == 0) & (labels == 1) if weighted else False
    np.testing.assert_array_equal(dx == 0, np.isnan(labels) | counts_nothing)


def test_binary_cross_entropy_of_logits_near_and_far():
    """Neither overflows nor loses what is small: a loss of e^-30 is one."""
    x = np.array([[30.0, -30.0], [1e-20, -17.0], [3000.0, -3000.0], [-1e30, 80.0], [0.0, -0.0]], np.float32)
    for row in x:
        for labels in ([1, 0], [0, 1]):
            labels = np.array([labels], np.float32)
            loss, dx = reference.run(program("binary_cross_entropy", 1, 2, "f32"), row[None], labels, 1.0, np.array(1.0, np.float32))
            # PyTorch's own loses digits of e^-30, in float64 too.
            wide = row[None].astype(np.float64)
            exact = (np.maximum(wide, 0) - wide * labels + np.log1p(np.exp(-np.abs(wide)))).mean()
            reference.close(loss, exact, 1e-6, size=max(exact, 1e-37))
            reference.close(dx, (torch.sigmoid(torch.tensor(wide)).numpy() - labels) / 2, 1e-6, size=np.ones((1, 2)))


def test_a_binary_cross_entropy_of_what_is_no_number_is_none():
    x = np.array([[0.5, np.nan]], np.float32)
    loss, dx = reference.run(program("binary_cross_entropy", 1, 2, "f32"), x, np.ones((1, 2), np.float32), 1.0, np.array(1.0, np.float32))
    assert np.isnan(loss) and np.isnan(dx[0, 1]) and np.isfinite(dx[0, 0])


def distillation(rows, columns, binary):
    x, s, kind = f"tensor<{rows}x{columns}xf32>", "tensor<f32>", "binary" if binary else ""
    return f"""func.func @main(%x: {x}, %teacher: {x}, %scale: f32, %g: {s}, %t: f32) -> ({s}, {x}) {{
      %loss = nn.distillation_loss %x, %teacher, %scale temperature %t {kind} : {x}, {x}
      %d = nn.distillation_loss_backward %x, %teacher, %scale, %g temperature %t {kind} : {x}, {x}
      return %loss, %d : {s}, {x}
    }}"""


# One class, two, fewer and more than a vector, many; rows without a teacher, whatever they hold.
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("rows, columns, temperature", [(1, 1, 2.0), (32, 2, 2.0), (7, 3, 0.5), (5, 37, 1.0), (3, 1031, 4.5)])
def test_distillation_loss(rows, columns, temperature, binary):
    x, teacher = reference.random(rows, columns, scale=4.0), reference.random(rows, columns, seed=1, scale=3.0)
    if rows > 1:
        teacher[[1, rows - 1]], x[1, 0] = np.nan, np.inf
    scale, g = np.float32(0.37), np.array(-1.7, np.float32)
    loss, dx = reference.run(distillation(rows, columns, binary), x, teacher, float(scale), g, temperature)
    (logits,) = inputs = reference.double(np.nan_to_num(x, posinf=0))
    exact = reference.distillation_loss(logits, teacher, float(scale), temperature, binary)
    reference.close(loss, exact, 1e-6, size=20.0 * rows * temperature**2)
    reference.close(dx, reference.gradients(exact, inputs, g)[0], 1e-6, size=np.full(x.shape, 2 * temperature / (columns if binary else 1)))
    assert ((dx == 0).all(1) == np.isnan(teacher[:, 0])).all() or columns == 1


@pytest.mark.parametrize("binary", [False, True])
def test_a_student_that_says_what_its_teacher_says(binary):
    x = reference.random(5, 7, scale=3.0)
    loss, dx = reference.run(distillation(5, 7, binary), x, x, 1.0, np.array(1.0, np.float32), 2.0)
    assert abs(loss) < 1e-5 and (dx == 0).all()


def test_a_distillation_loss_of_large_logits_does_not_overflow():
    x, teacher = np.array([[3000.0, -3000.0]], np.float32), np.array([[-3000.0, 2999.0]], np.float32)
    loss, dx = reference.run(distillation(1, 2, False), x, teacher, 1.0, np.array(1.0, np.float32), 2.0)
    reference.close(loss, np.float64(4 * 3000), 1e-6)
    reference.close(dx, np.array([[2.0, -2.0]]), 1e-6)


@pytest.mark.parametrize("op", ["cross_entropy", "squared_error", "binary_cross_entropy"])
def test_backward_against_finite_differences(op):
    columns = 1 if op == "squared_error" else 3
    x, direction = reference.random(4, columns), reference.random(4, columns, seed=1)
    labels = np.array([2, 0, 1, 1], np.int32) if op == "cross_entropy" else reference.random(4, seed=2)
    if op == "binary_cross_entropy":
        labels = np.random.default_rng(3).integers(0, 2, (4, 3)).astype(np.float32)
    function = reference.pst.compile(program(op, 4, columns, "i32" if op == "cross_entropy" else "f32"))
    one = np.array(1.0, np.float32)
    _, dx = function(x, labels, 0.7, one)
    expected = reference.finite_difference(lambda moved: function(moved, labels, 0.7, one)[0], [x], 0, direction, 1.0)
    assert (dx * direction).sum() == pytest.approx(expected, rel=5e-4)


# More logits than there is room for at a time on a CPU, in parts of 33 and 32 tokens. GPUs have room for all: the
# emulator's tests make it smaller.
MANY = 270_001


def linear(tokens, classes, features, labels, with_weight=False, smoothed=False):
    """The loss over a vocabulary, and its gradients."""
    xt, wt, lt, s = f"tensor<{tokens}x{features}xf32>", f"tensor<{classes}x{features}xf32>", f"tensor<{labels}xi32>", "tensor<f32>"
    result, kind = ("%dx, %dw", f" weight {wt}") if with_weight else ("%dx", "")
    types = f"{s}, {xt}" + (f", {wt}" if with_weight else "")
    argument, smoothing = (", %s: f32", "smoothing %s") if smoothed else ("", "")
    return f"""func.func @main(%x: {xt}, %w: {wt}, %labels: {lt}, %scale: f32, %g: {s}{argument}) -> ({types}) {{
      %loss = nn.linear_cross_entropy %x, %w, %labels, %scale {smoothing} : {xt}, {wt}, {lt}
      {result} = nn.linear_cross_entropy_backward %x, %w, %labels, %scale, %g {smoothing} : {xt}, {wt}, {lt}{kind}
      return %loss, {result} : {types}
    }}"""


# Of smoothed labels, some and all alike.
@pytest.mark.parametrize(
    "tokens, classes, features, with_weight, smoothing",
    [(1, 1, 1, True, None), (7, 3, 5, False, None), (130, 1031, 37, True, None), (65, 40, 800, False, None), (65, "many", 2, True, None),
     (1, 1, 1, True, 0.1), (7, 3, 5, False, 0.5), (67, 1031, 37, True, 0.1), (65, 40, 800, False, 0.5), (65, "many", 2, True, 0.1)],
)  # fmt: skip
def test_linear_cross_entropy(tokens, classes, features, with_weight, smoothing):
    classes = MANY if classes == "many" else classes
    x, w = reference.random(tokens, features, scale=2.0), reference.random(classes, features, scale=features**-0.5)
    labels = np.random.default_rng(3).integers(0, classes, tokens, dtype=np.int32)
    if tokens > 5:
        labels[[0, 3, tokens - 1]] = [-100, classes, -1]  # no examples
    scale, g = np.float32(0.37), np.array(-1.7, np.float32)
    more = [] if smoothing is None else [smoothing]
    loss, *gradients = reference.run(linear(tokens, classes, features, tokens, with_weight, bool(more)), x, w, labels, float(scale), g, *more)
    inputs = reference.double(x, w)
    examples = np.flatnonzero((labels >= 0) & (labels < classes))
    logits = inputs[0][examples] @ inputs[1].T
    if smoothing is None:
        exact = reference.cross_entropy(logits, labels[examples], float(scale))
    else:
        wanted = torch.tensor(labels[examples], dtype=torch.long)
        exact = float(scale) * torch.nn.functional.cross_entropy(logits, wanted, reduction="sum", label_smoothing=float(np.float32(smoothing)))
    reference.close(loss, exact, 1e-6, size=10.0 * tokens)
    for ours, expected in zip(gradients, reference.gradients(exact, inputs, g)):
        size = np.full(ours.shape, max(np.abs(expected.detach().numpy()).max(), 1e-3))
        reference.close(ours, expected, 3e-6, size=size)
    assert (gradients[0][np.setdiff1d(np.arange(tokens), examples)] == 0).all()


def test_labels_that_are_smoothed_by_nothing_are_plain_ones():
    x, w = reference.random(13, 5), reference.random(2053, 5, seed=1)
    labels = np.random.default_rng(5).integers(0, 2053, 13, dtype=np.int32)
    one = np.array(1.0, np.float32)
    plain = reference.run(linear(13, 2053, 5, 13, True), x, w, labels, 0.5, one)
    for ours, expected in zip(reference.run(linear(13, 2053, 5, 13, True, True), x, w, labels, 0.5, one, 0.0), plain):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("sequences, length, classes, features", [(1, 1, 3, 2), (3, 7, 11, 5), (2, 65, "many", 2)])
def test_linear_cross_entropy_of_the_next_tokens(sequences, length, classes, features):
    """Labels of B x L: each row has the label of the next token, the last of a sequence none. The same bits."""
    classes = MANY if classes == "many" else classes
    tokens = sequences * length
    x, w = reference.random(tokens, features), reference.random(classes, features, seed=1)
    labels = np.random.default_rng(4).integers(0, classes, (sequences, length), dtype=np.int32)
    labels[0, length // 2] = -100
    shifted = np.full((sequences, length), -100, np.int32)
    shifted[:, :-1] = labels[:, 1:]
    results = []
    for given in (labels, shifted.reshape(-1)):
        text = linear(tokens, classes, features, "x".join(map(str, given.shape)))
        results.append(reference.run(text, x, w, given, 0.5, np.array(1.0, np.float32)))
    for one, other in zip(*results):
        assert one.tobytes() == other.tobytes()
    assert (results[0][0] != 0) == (length > 1)
