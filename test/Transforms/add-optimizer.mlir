// RUN: pst-opt %s --pst-add-optimizer | FileCheck %s

// Each space is laid out at cache lines, decayed parameters first, and one
// AdamW covers them all.

// CHECK: pst.parameter @bias trainable init<zeros> {offset = 128 : i64}
// CHECK: pst.parameter @w trainable init<zeros> {decay, offset = 0 : i64}
// CHECK: pst.parameter @tau state init<zeros> {offset = 0 : i64}
// CHECK: pst.parameter @cut state init<zeros> {offset = 64 : i64}
// CHECK: pst.parameter @f frozen init<file "f"> : tensor<3xf32>
// CHECK-LABEL: func.func @apply(
// CHECK-SAME: %[[LR:.*]]: f32 {pst.name = "learning_rate"}
// CHECK-SAME: -> (tensor<f32> {pst.name = "grad_norm"})
// CHECK: pst.adamw size 48 decayed 32(%[[LR]]

pst.parameter @bias trainable init<zeros> : tensor<3xf32>
pst.parameter @w trainable init<zeros> {decay} : tensor<5x4xf32>
pst.parameter @tau state init<zeros> : tensor<f32>
pst.parameter @cut state init<zeros> : tensor<i64>
pst.parameter @f frozen init<file "f"> : tensor<3xf32>
