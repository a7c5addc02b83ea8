// RUN: pst-opt %s --pst-sparsify="method=pst weight_rank=2 mask_rank=0 mask_alpha2=0 selection=topk" | FileCheck %s --check-prefixes=CHECK,UV
// RUN: pst-opt %s --pst-sparsify="method=lora weight_rank=2" | FileCheck %s --check-prefix=LORA
// RUN: pst-opt %s --pst-sparsify="method=pst init_scale=0.05" | FileCheck %s --check-prefix=START
// RUN: pst-opt %s --pst-sparsify="method=mvp" | FileCheck %s --check-prefix=MVP
// RUN: pst-opt %s --pst-sparsify="method=map" | FileCheck %s --check-prefix=MAP
// RUN: pst-opt %s --pst-sparsify="method=dense" | FileCheck %s --check-prefix=DENSE

// START: @a.pst_U trainable init<normal 5.000000e-02>
// START: @a.pst_V trainable init<zeros>
// START: @a.pst_A trainable init<normal 5.000000e-02>
// START: @a.pst_B trainable init<zeros>

// A marked weight gets the factors of the method; a term whose rank or factor
// is zero is left out (the paper's ablations); other layers stay as they are.

// UV: pst.criterion @pst(%[[W:.*]]: dense, %[[UV:.*]]: lowrank) {
// UV: %[[S:.*]] = math.absf
// UV: pst.yield weight %{{.*}} score %[[S]]
// CHECK: pst.parameter @a frozen init<file "a"> {pst.layer = {factors = ["a", "a.pst_U", "a.pst_V"], kinds = ["dense", "lowrank"], pruned = "a.pst_pruned", selection = #pst.selection<topk layer>, state = ["a.pst_threshold", "a.pst_cut"]}} : tensor<4x3xf32>
// CHECK-NEXT: pst.parameter @a.pst_U trainable init<normal 1.000000e+00> {decay} : tensor<4x2xf32>
// CHECK-NEXT: pst.parameter @a.pst_V trainable init<zeros> {decay} : tensor<2x3xf32>
// CHECK-NEXT: pst.parameter @a.pst_threshold state init<constant -3.40282{{.*}}E+38> : tensor<f32>
// CHECK-NEXT: pst.parameter @a.pst_cut state init<constant 1.200000e+01> : tensor<i64>
// CHECK-NEXT: pst.parameter @a.pst_pruned state init<zeros> : tensor<i64>
// CHECK-NEXT: pst.parameter @b frozen
// CHECK-LABEL: func.func @forward(
// CHECK: pst.masked_matmul %{{.*}}, @pst(%{{.*}}, %{{.*}}, %{{.*}}) threshold(%{{.*}}, %{{.*}}) pruned(%{{.*}}) : tensor<2x3xf32>
// CHECK: nn.linear
// CHECK-LABEL: func.func @select(
// CHECK: %[[PREVIOUS:.*]] = pst.load @a.pst_threshold
// CHECK: %[[TAU:.*]], %[[CUT:.*]], %[[PRUNED:.*]] = pst.topk_threshold @pst({{.*}}), %{{.*}} previous(%[[PREVIOUS]])
// CHECK: pst.store %[[TAU]], @a.pst_threshold : tensor<f32>
// CHECK: pst.store %[[CUT]], @a.pst_cut : tensor<i64>
// CHECK: pst.store %[[PRUNED]], @a.pst_pruned : tensor<i64>
// CHECK-LABEL: func.func @materialize(
// CHECK: pst.masked_weight @pst

// LoRA has no score, so nothing is selected; the merged weight is written out.
// LORA: pst.criterion @lora
// LORA: pst.layer = {factors = ["a", "a.pst_U", "a.pst_V"], kinds = ["dense", "lowrank"], state = []}
// LORA-NOT: func.func @select
// LORA: func.func @materialize

// Movement pruning trains a score as large as the weight, and the model.
// MVP: pst.parameter @a trainable init<file "a">
// MVP-NEXT: pst.parameter @a.pst_S trainable init<zeros> {decay, group = #pst<rate_group mask>} : tensor<4x3xf32>
// MVP: pst.parameter @b trainable init<file "b">

// The magnitude selects, but gets no gradient of its own.
// MAP: pst.criterion @map
// MAP: pst.detach
// MAP: func.func @select

// Dense fine-tuning has nothing to merge.
// DENSE: pst.criterion @dense
// DENSE-NOT: pst.layer
// DENSE: pst.masked_matmul %{{.*}}, @dense(%{{.*}}) :
// DENSE-NOT: func.func @materialize

pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<4x3xf32>
pst.parameter @b frozen init<file "b"> : tensor<2x4xf32>
func.func @forward(%x: tensor<2x3xf32>) -> tensor<2x2xf32> {
  %a = pst.load @a : tensor<4x3xf32>
  %b = pst.load @b : tensor<2x4xf32>
  %y = nn.linear %x, %a : tensor<2x3xf32>, tensor<4x3xf32> -> tensor<2x4xf32>
  %z = nn.linear %y, %b : tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x2xf32>
  return %z : tensor<2x2xf32>
}
