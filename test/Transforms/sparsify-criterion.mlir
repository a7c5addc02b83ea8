// RUN: pst-opt %s --pst-sparsify="criterion=%S/Inputs/norms.mlir" | FileCheck %s
// RUN: pst-opt %s --pst-sparsify="criterion=%S/Inputs/norms.mlir hyperparameters=gamma=2,size=3" | FileCheck %s --check-prefix=GIVEN

// A criterion of the user's is a method: its factors are declared for each
// layer as it says, with those that are frozen. What a hyperparameter of 0
// multiplies is left out, with the factor that is read nowhere else, and so is
// a factor of rank 0; the layer's own parameters are trained. A file lies where
// the criterion lies.

// CHECK:      module attributes {pst.criterion = "pst.criterion @norms({{.*}}norm frozen init<file \22*.norm\22 from \22norms.safetensors\22>{{.*}}", pst.hyperparameters = {delta = 0.000000e+00 : f64, gamma = 5.000000e-01 : f64, size = 2.000000e+00 : f64}, pst.method = "norms"}
// CHECK:      pst.criterion @norms(%[[W:.*]]: dense, %[[NORM:.*]]: col, %[[D:.*]]: lowrank) {
// CHECK-NEXT:   %[[HALF:.*]] = arith.constant 5.000000e-01 : f32
// CHECK-NEXT:   %[[STEP:.*]] = arith.mulf %[[D]], %[[HALF]]
// CHECK-NEXT:   %[[V:.*]] = arith.subf %[[W]], %[[STEP]]
// CHECK-NEXT:   %[[M:.*]] = math.absf %[[V]]
// CHECK-NEXT:   %[[S:.*]] = arith.mulf %[[M]], %[[NORM]]
// CHECK-NEXT:   pst.yield weight %[[V]] score %[[S]]
// GIVEN: arith.constant 2.000000e+00 : f32
// GIVEN: pst.parameter @a.pst_P trainable init<normal 5.000000e-01> {decay} : tensor<4x3xf32>

// CHECK:      pst.parameter @a trainable init<file "a">
// CHECK-NEXT: pst.parameter @a.pst_norm frozen init<file "a.norm" from "{{/.*/Inputs/norms.safetensors}}"> : tensor<3xf32>
// CHECK-NEXT: pst.parameter @a.pst_P trainable init<normal 5.000000e-01> {decay} : tensor<4x2xf32>
// CHECK-NEXT: pst.parameter @a.pst_Q trainable init<zeros> {decay} : tensor<2x3xf32>
// CHECK-NEXT: pst.parameter @a.pst_threshold
pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<4x3xf32>
func.func @forward(%x: tensor<2x3xf32>) -> tensor<2x4xf32> {
  %a = pst.load @a : tensor<4x3xf32>
  // CHECK: pst.masked_matmul %{{.*}}, @norms(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) threshold
  %y = nn.linear %x, %a : tensor<2x3xf32>, tensor<4x3xf32> -> tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}
