// RUN: pst-opt %s --pst-choose-products | FileCheck %s --check-prefixes=CHECK,AUTO
// RUN: pst-opt %s --pst-choose-products="products=packed" | FileCheck %s --check-prefixes=CHECK,PACKED
// RUN: pst-opt %s --pst-choose-products="products=compressed" | FileCheck %s --check-prefixes=CHECK,COMPRESSED
// RUN: pst-opt %s --pst-choose-products="products=buffer" | FileCheck %s --check-prefixes=CHECK,BUFFER
// RUN: not pst-opt %s --pst-choose-products="products=dense" 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// UNKNOWN: for the --products option: Cannot find option named 'dense'!

// Each choice gives the same product in another form; what has no mask stays.
// Without the number of the pruned there is nothing to decide by.

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

// CHECK-LABEL: func.func @layer
func.func @layer(%x: tensor<256x64xf32>, %w: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>, %pruned: tensor<i64>, %bias: tensor<96xf32>)
    -> (tensor<256x96xf32>, tensor<256x64xf32>, tensor<256x96xf32>, tensor<256x96xf32>) {
  // AUTO: pst.masked_matmul {{.*}} threshold({{.*}}) pruned(%{{.*}}) as adaptive bias(
  // PACKED: pst.masked_matmul %{{.*}}, @map(%{{.*}}) threshold(%{{.*}}, %{{.*}}) pruned(%{{.*}}) bias(
  // COMPRESSED: pst.masked_matmul %{{.*}}, @map(%{{.*}}) threshold(%{{.*}}, %{{.*}}) pruned(%{{.*}}) as compressed bias(
  // BUFFER: %[[W:.*]] = pst.masked_weight @map(%{{.*}}) threshold(
  // BUFFER: nn.linear %{{.*}}, %[[W]] bias(
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) pruned(%pruned) bias(%bias) : tensor<256x64xf32>, (tensor<96x64xf32>) bias tensor<96xf32> -> tensor<256x96xf32>
  // AUTO: pst.masked_matmul {{.*}} transposed threshold({{.*}}) pruned({{.*}}) as adaptive
  // COMPRESSED: pst.masked_matmul {{.*}} transposed threshold({{.*}}) pruned({{.*}}) as compressed
  // BUFFER: nn.linear %{{.*}}, %{{.*}} transposed : tensor<256x96xf32>, tensor<96x64xf32> -> tensor<256x64xf32>
  %dx = pst.masked_matmul %y, @map(%w) transposed threshold(%tau, %cut) pruned(%pruned) : tensor<256x96xf32>, (tensor<96x64xf32>) -> tensor<256x64xf32>
  // CHECK: pst.masked_matmul %{{.*}}, @map(%{{.*}}) :
  %all = pst.masked_matmul %x, @map(%w) : tensor<256x64xf32>, (tensor<96x64xf32>) -> tensor<256x96xf32>
  // AUTO: pst.masked_matmul %{{.*}}, @map(%{{.*}}) threshold(%{{.*}}, %{{.*}}) :
  %unknown = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) : tensor<256x64xf32>, (tensor<96x64xf32>) -> tensor<256x96xf32>
  return %y, %dx, %all, %unknown : tensor<256x96xf32>, tensor<256x64xf32>, tensor<256x96xf32>, tensor<256x96xf32>
}

// A few tokens would not pay for the compressing.

// CHECK-LABEL: func.func @few
func.func @few(%x: tensor<3x64xf32>, %w: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>, %pruned: tensor<i64>) -> tensor<3x96xf32> {
  // AUTO: pst.masked_matmul %{{.*}}, @map(%{{.*}}) threshold(%{{.*}}, %{{.*}}) pruned(%{{.*}}) : tensor<3x64xf32>
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) pruned(%pruned) : tensor<3x64xf32>, (tensor<96x64xf32>) -> tensor<3x96xf32>
  return %y : tensor<3x96xf32>
}
