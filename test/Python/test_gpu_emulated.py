# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The kernels for GPUs, run by the emulator under the tests of the CPU's kernels.

The emulator (lib/Emulator) runs threads and blocks in another order at each
launch, so what these tests do twice must come out with the same bits.
"""

import importlib.util
import pathlib

import nn_reference as reference
import numpy as np
import pytest
from virtual_weights import CRITERIA, random_factors, tensor

import pst

FAMILIES = ("activation", "adamw", "attention", "decoder", "elementwise", "embedding", "gradients", "layer_norm", "loss", "masks", "products", "selection", "storage", "weights")


# Tiles of classes by the dozen, the last not whole; what a CPU's room is counts for nothing here.
MANY = 9_001


# Of compiled programs.
_caches = []


def _tests(family):
    """The tests of a family, from a module of their own: compiled programs that it keeps are ours."""
    path = pathlib.Path(__file__).with_name(f"test_kernels_{family}.py")
    spec = importlib.util.spec_from_file_location(f"emulated_{family}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if hasattr(module, "compiled"):
        _caches.append(module.compiled)
    if hasattr(module, "MANY"):
        module.MANY = MANY
    return {name.replace("test_", f"test_{family}_", 1): f for name, f in vars(module).items() if name.startswith("test_")}


for _family in FAMILIES:
    globals().update(_tests(_family))

# Asks for the CPU's order of additions; ours is below.
del test_activation_column_sum  # noqa: F821
# The GPU's threads have no vectors, and do not ask for the threshold before.
del test_masks_every_width_of_vectors_keeps_the_same  # noqa: F821
del test_selection_every_width_of_vectors_selects_the_same, test_selection_what_was_before_never_changes_the_result  # noqa: F821
# About forms and widths that only the CPU has.
del test_weights_every_form_of_the_product, test_weights_the_adaptive_product_takes_the_form_of_what_is_pruned  # noqa: F821
del test_weights_a_wrong_count_of_the_pruned_costs_time_only, test_storage_the_order_of_cells_is_free  # noqa: F821
# Of a bundle for a CPU.
del test_embedding_indices_outside_the_table_read_its_nearest_row  # noqa: F821
# A GPU's blocks go over the keys in tiles whatever the length.
del test_attention_long_sequences  # noqa: F821


@pytest.fixture(scope="module", autouse=True)
def _no_program_is_kept():
    """Python would not let go of them before nanobind looks for what is left."""
    yield
    for cache in _caches:
        cache.cache_clear()


@pytest.fixture(autouse=True)
def emulated(recorded_checks, monkeypatch):
    """Whatever a test compiles is compiled for the emulator, without what only CPUs have."""
    compile_text = pst._pst.compile_text

    def compile_emulated(text, options):
        kept = {name: value for name, value in options.items() if name not in ("products", "blocks", "vector_width")}
        return compile_text(text, {**kept, "target": "emulated"})

    monkeypatch.setattr(pst._pst, "compile_text", compile_emulated)


@pytest.mark.parametrize("rows, columns", [(1, 1), (5, 3), (129, 37), (64, 128), (1031, 71)])
@pytest.mark.parametrize("squared", ["", "squared"])
def test_column_sum(rows, columns, squared):
    x = reference.random(rows, columns, seed=rows)
    (sums,) = reference.run(
        f"""func.func @main(%x: tensor<{rows}x{columns}xf32>) -> tensor<{columns}xf32> {{
          %s = nn.column_sum %x {squared} : tensor<{rows}x{columns}xf32> -> tensor<{columns}xf32>
          return %s : tensor<{columns}xf32>
        }}""",
        x,
    )
    terms = x.astype(np.float64) ** 2 if squared else x.astype(np.float64)
    reference.close(sums, terms.sum(0), 1e-6, size=np.abs(terms).sum(0))


@pytest.mark.parametrize("rows, columns", [(37, 53), (130, 257)])
def test_a_mask_is_the_cpus(monkeypatch, rows, columns):
    """Threshold, cut and masked weight have the bits that the CPU's kernels find."""
    criterion = CRITERIA["pst"]
    factors = random_factors(criterion, rows, columns, 8, np.random.default_rng(rows))
    types, names = ", ".join(map(tensor, factors)), ", ".join(f"%f{i}" for i in range(len(factors)))
    arguments = ", ".join(f"%f{i}: {tensor(factor)}" for i, factor in enumerate(factors))
    weight = f"tensor<{rows}x{columns}xf32>"
    text = f"""{criterion.text("c")}
func.func @main({arguments}, %sparsity: f64) -> (tensor<f32>, tensor<i64>, {weight}) {{
  %tau, %cut, %pruned = pst.topk_threshold @c({names}), %sparsity : ({types})
  %w = pst.masked_weight @c({names}) threshold(%tau, %cut) : ({types}) -> {weight}
  return %tau, %cut, %w : tensor<f32>, tensor<i64>, {weight}
}}"""
    ours = reference.run(text, *factors, 0.9)
    monkeypatch.undo()
    for one, other in zip(ours, reference.run(text, *factors, 0.9)):
        assert one.tobytes() == other.tobytes()
    assert (ours[2] != 0).sum() == rows * columns - int(rows * columns * 0.9)


@pytest.mark.parametrize("rows, columns", [(37, 53), (130, 257)])
@pytest.mark.parametrize("transposed", ["", "transposed "])
def test_a_compressed_weight_is_the_cpus(monkeypatch, rows, columns, transposed):
    """Every slot, used or not, has the bits that the CPU's kernels store: either can multiply the other's."""
    criterion = CRITERIA["pst"]
    factors = random_factors(criterion, rows, columns, 8, np.random.default_rng(rows))
    types, names = ", ".join(map(tensor, factors)), ", ".join(f"%f{i}" for i in range(len(factors)))
    arguments = ", ".join(f"%f{i}: {tensor(factor)}" for i, factor in enumerate(factors))
    shape = (columns, rows) if transposed else (rows, columns)
    cells = -(-shape[0] // 64) * -(-shape[1] // 128)
    room = rows * columns // 4 + 16 * cells
    stored = f"tensor<{room}xf32>, tensor<{room}xi8>, tensor<{cells}x65xi32>, tensor<i32>"
    text = f"""{criterion.text("c")}
func.func @main({arguments}, %sparsity: f64) -> ({stored}) {{
  %tau, %cut, %pruned = pst.topk_threshold @c({names}), %sparsity : ({types})
  %s:4 = pst.materialize @c({names}) {transposed}threshold(%tau, %cut) as compressed : ({types}) -> {stored}
  return %s#0, %s#1, %s#2, %s#3 : {stored}
}}"""
    ours = reference.run(text, *factors, 0.8)
    monkeypatch.undo()
    for one, other in zip(ours, reference.run(text, *factors, 0.8)):
        assert one.tobytes() == other.tobytes()
    assert np.count_nonzero(ours[0]) == rows * columns - int(rows * columns * 0.8)
