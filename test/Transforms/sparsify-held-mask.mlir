// A mask that is kept between steps: @select writes it, products, their
// gradients and the export read it, and not the thresholds that it came from.
// RUN: pst-opt %s -pst-sparsify="method=mvp selection=row hold_mask" -pst-autodiff | FileCheck %s
// RUN: pst-opt %s -pst-sparsify="method=mvp selection=row" -pst-autodiff | FileCheck %s --check-prefix=USUAL
// RUN: not pst-opt %s -pst-sparsify="method=lora hold_mask" 2>&1 | FileCheck %s --check-prefix=LORA

// CHECK-DAG: pst.parameter @pst_score_gradients state init<constant 1.000000e+00> : tensor<f32>
// 37 columns are two words, of which -1 sets all bits.
// CHECK-DAG: pst.parameter @a.pst_mask state init<constant -1.000000e+00> : tensor<4x2xi32>
// CHECK-DAG: selection = #pst.selection<topk row>, state = ["a.pst_threshold", "a.pst_cut"]

// CHECK-LABEL: func.func @forward_backward(
// CHECK: %[[MASK:.*]] = pst.load @a.pst_mask : tensor<4x2xi32>
// CHECK: %[[FACTOR:.*]] = pst.load @pst_score_gradients : tensor<f32>
// CHECK: pst.masked_matmul %{{.*}}, @mvp(%{{.*}}) selection<held>(%[[MASK]], %[[FACTOR]] : tensor<4x2xi32>, tensor<f32>) pruned(
// CHECK: pst.lowrank_accumulate %{{.*}}, @mvp(%{{.*}}) selection<held>(%[[MASK]], %[[FACTOR]] : tensor<4x2xi32>, tensor<f32>) wrt

// CHECK-LABEL: func.func @select(
// CHECK: pst.row_thresholds @mvp
// CHECK: %[[TAUS:.*]] = pst.load @a.pst_threshold : tensor<4xf32>
// CHECK: %[[CUTS:.*]] = pst.load @a.pst_cut : tensor<4xi64>
// CHECK: %[[BITS:.*]] = pst.mask_bits @mvp(%{{.*}}) selection<topk row>(%[[TAUS]], %[[CUTS]] : tensor<4xf32>, tensor<4xi64>) : (tensor<4x37xf32>, tensor<4x37xf32>) -> tensor<4x2xi32>
// CHECK: pst.store %[[BITS]], @a.pst_mask : tensor<4x2xi32>
// CHECK: pst.store %{{.*}}, @pst_score_gradients : tensor<f32>

// CHECK-LABEL: func.func @freeze_mask() {
// CHECK: arith.constant 0.000000e+00 : f32
// CHECK: pst.store %{{.*}}, @pst_score_gradients : tensor<f32>

// CHECK-LABEL: func.func @materialize(
// CHECK: pst.masked_weight @mvp(%{{.*}}) selection<held>(

// USUAL-NOT: held
// USUAL-NOT: pst_mask
// USUAL-NOT: freeze_mask

// LORA: 'pst.criterion' op has no score, and so no mask that could be kept for --mask_interval or --mask_freeze (--hold_mask)

pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<4x37xf32>

func.func @forward(%x: tensor<2x37xf32>, %labels: tensor<2xi32>, %scale: f32) -> (tensor<f32> {pst.name = "loss"}) {
  %a = pst.load @a : tensor<4x37xf32>
  %y = nn.linear %x, %a : tensor<2x37xf32>, tensor<4x37xf32> -> tensor<2x4xf32>
  %loss = nn.cross_entropy %y, %labels, %scale : tensor<2x4xf32>, tensor<2xi32>
  return %loss : tensor<f32>
}
