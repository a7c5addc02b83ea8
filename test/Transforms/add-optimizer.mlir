// RUN: pst-opt %s --split-input-file --pst-add-optimizer | FileCheck %s

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

// -----

// Parameters with a learning rate of their own lie together, those of the mask
// before those of the head.

// CHECK: pst.parameter @head trainable init<zeros> {decay, group = #pst<rate_group head>, offset = 128 : i64}
// CHECK: pst.parameter @bias trainable init<zeros> {group = #pst<rate_group head>, offset = 192 : i64}
// CHECK: pst.parameter @a trainable init<zeros> {decay, group = #pst<rate_group mask>, offset = 64 : i64}
// CHECK: pst.parameter @u trainable init<zeros> {decay, offset = 0 : i64}
// CHECK-LABEL: func.func @apply(
// CHECK-SAME: %[[LR:[a-z0-9]*]]: f32 {pst.name = "learning_rate"}
// CHECK-SAME: %[[MASK:[a-z0-9]*]]: f32 {pst.name = "mask_learning_rate"}
// CHECK-SAME: %[[HEAD:[a-z0-9]*]]: f32 {pst.name = "head_learning_rate"}
// CHECK: pst.adamw size 64 decayed 48(%[[LR]], {{.*}}) except [16, 32, 32, 48, 48, 64](%[[MASK]], %[[HEAD]], %[[HEAD]])

pst.parameter @head trainable init<zeros> {decay, group = #pst<rate_group head>} : tensor<2x3xf32>
pst.parameter @bias trainable init<zeros> {group = #pst<rate_group head>} : tensor<2xf32>
pst.parameter @a trainable init<zeros> {decay, group = #pst<rate_group mask>} : tensor<5x2xf32>
pst.parameter @u trainable init<zeros> {decay} : tensor<5x2xf32>

// -----

// Weights as a program stores them lie side by side before all other state,
// whether a function stores them itself or returns rows of them. Caches have a
// space of their own.

// CHECK: pst.parameter @cache state init<zeros> {offset = 128 : i64}
// CHECK: pst.parameter @a.pst_values state init<zeros> {offset = 0 : i64}
// CHECK: pst.parameter @more state init<zeros> {offset = 192 : i64}
// CHECK: pst.parameter @b.pst_scales state init<zeros> {offset = 64 : i64}
// CHECK: pst.parameter @keys cache init<zeros> {offset = 0 : i64}
// CHECK: pst.parameter @values cache init<zeros> {offset = 64 : i64}

pst.parameter @cache state init<zeros> : tensor<2xf32>
pst.parameter @a.pst_values state init<zeros> : tensor<4xf32>
pst.parameter @more state init<zeros> : tensor<2xf32>
pst.parameter @b.pst_scales state init<zeros> : tensor<4xf32>
pst.parameter @keys cache init<zeros> : tensor<2xf32>
pst.parameter @values cache init<zeros> : tensor<2xf32>
func.func @pack.0(%a: tensor<4xf32>) {
  pst.store %a, @a.pst_values : tensor<4xf32>
  return
}
func.func @pack.1(%b: tensor<2xf32> {pst.name = "b"}) -> (tensor<2xf32> {pst.name = "b.pst_scales"}) {
  return %b : tensor<2xf32>
}
func.func @forward(%a: tensor<2xf32>) {
  pst.store %a, @more : tensor<2xf32>
  return
}
