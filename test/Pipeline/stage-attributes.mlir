// What a module's text says of itself (pst.layer and its like) is verified before
// a stage reads it. Each of the first six once ended the process.

// REQUIRES: pst-compile
// RUN: split-file %s %t
// RUN: not pst-compile %t/factors.mlir -o %t/bundle 2>&1 | FileCheck %t/factors.mlir
// RUN: not pst-compile %t/kinds.mlir -o %t/bundle 2>&1 | FileCheck %t/kinds.mlir
// RUN: not pst-compile %t/state.mlir -o %t/bundle 2>&1 | FileCheck %t/state.mlir
// RUN: not pst-compile --plan-only %t/recompute.mlir 2>&1 | FileCheck %t/recompute.mlir
// RUN: not pst-compile --plan-only %t/kept-weights.mlir 2>&1 | FileCheck %t/kept-weights.mlir
// RUN: not pst-compile --plan-only %t/cost.mlir 2>&1 | FileCheck %t/cost.mlir
// RUN: pst-compile --plan-only %t/bits.mlir | FileCheck %t/bits.mlir

//--- factors.mlir
// CHECK: factors.mlir:[[#@LINE+1]]:1: error: 'pst.parameter' op must have an array of strings as "factors" of "pst.layer", but got [3]
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = [3], kinds = ["dense"]}} : tensor<4x3xf32>

//--- kinds.mlir
// CHECK: kinds.mlir:[[#@LINE+1]]:1: error: 'pst.parameter' op must have an array of "dense", "lowrank", "row" and "col" as "kinds" of "pst.layer", but got [3]
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = [3]}} : tensor<4x3xf32>

//--- state.mlir
// CHECK: state.mlir:[[#@LINE+1]]:1: error: 'pst.parameter' op must have an array of strings as "state" of "pst.layer", but got [7]
pst.parameter @w frozen init<file "w"> {pst.layer = {factors = ["w"], kinds = ["dense"], selection = #pst.selection<topk layer>, state = [7]}} : tensor<4x3xf32>

//--- recompute.mlir
// CHECK: recompute.mlir:[[#@LINE+1]]:1: error: 'builtin.module' op must have a finite f64 from 0 as "flops" of "pst.recompute", but got {}
module attributes {pst.recompute = {}} {}

//--- kept-weights.mlir
// CHECK: kept-weights.mlir:[[#@LINE+1]]:1: error: 'builtin.module' op must have an i64 from 0 as "kept" of "pst.kept_weights", but got {}
module attributes {pst.kept_weights = {}} {}

//--- cost.mlir
// CHECK: cost.mlir:[[#@LINE+1]]:1: error: 'pst.parameter' op must have a finite f64 from 0 as "dense" of "pst.cost", but got {}
pst.parameter @w frozen init<file "w"> {pst.cost = {}} : tensor<4x3xf32>

// What bits would take is said only where they were a choice.
//--- bits.mlir
// CHECK: weights: 0 of 1 with zeros are compressed, 0 of them with a bit for each element; their products take 2.0 ms of a thread, 2.0 ms if all are dense
pst.parameter @w frozen init<file "w"> {pst.cost = {compressed = 3000.0, dense = 2000.0}} : tensor<4x3xf32>
pst.parameter @w.pst_bits frozen init<file "b"> : tensor<4xi32>
