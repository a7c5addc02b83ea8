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
  // Room for 9 % of the elements, beyond which the dense product is faster.
  // AUTO: %[[S:.*]]:4 = pst.materialize @map(%{{.*}}) threshold(%{{.*}}, %{{.*}}) pruned(%{{.*}}) as compressed unordered : (tensor<96x64xf32>) -> tensor<585xf32>, tensor<585xi8>, tensor<2x65xi32>, tensor<i32>
  // AUTO: pst.masked_matmul {{.*}} threshold({{.*}}) pruned({{.*}}) stored(%[[S]]#0, %[[S]]#1, %[[S]]#2, %[[S]]#3) bias(
  // PACKED: pst.masked_matmul %{{.*}}, @map(%{{.*}}) threshold(%{{.*}}, %{{.*}}) pruned(%{{.*}}) bias(
  // COMPRESSED: %[[S:.*]]:4 = pst.materialize @map(%{{.*}}) threshold(%{{.*}}, %{{.*}}) as compressed unordered : (tensor<96x64xf32>) -> tensor<6176xf32>,
  // COMPRESSED: pst.stored_matmul %{{.*}}, compressed(%[[S]]#0, %[[S]]#1, %[[S]]#2, %[[S]]#3) bias(
  // BUFFER: %[[W:.*]] = pst.materialize @map(%{{.*}}) threshold({{.*}}) as dense : (tensor<96x64xf32>) -> tensor<96x64xf32>
  // BUFFER: nn.linear %{{.*}}, %[[W]] bias(
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) pruned(%pruned) bias(%bias) : tensor<256x64xf32>, (tensor<96x64xf32>) bias tensor<96xf32> -> tensor<256x96xf32>
  // AUTO: pst.materialize @map(%{{.*}}) transposed threshold({{.*}}) pruned({{.*}}) as compressed unordered : (tensor<96x64xf32>) -> tensor<569xf32>, tensor<569xi8>, tensor<1x65xi32>, tensor<i32>
  // AUTO: pst.masked_matmul {{.*}} transposed threshold({{.*}}) pruned({{.*}}) stored(
  // COMPRESSED: pst.materialize @map(%{{.*}}) transposed threshold({{.*}}) as compressed unordered
  // COMPRESSED: pst.stored_matmul %{{.*}}, compressed({{.*}}) : tensor<256x96xf32>, ({{.*}}) -> tensor<256x64xf32>
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

// Products with one weight, one after the other, share what is stored; where
// another was stored between, it was not kept for so long.

// CHECK-LABEL: func.func @shared
func.func @shared(%x: tensor<256x64xf32>, %w: tensor<96x64xf32>, %v: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>, %pruned: tensor<i64>)
    -> (tensor<256x96xf32>, tensor<256x96xf32>, tensor<256x96xf32>, tensor<256x96xf32>) {
  // AUTO: %[[S:.*]]:4 = pst.materialize @map(%[[W:.*]]) threshold(
  // AUTO-NEXT: pst.masked_matmul {{.*}} stored(%[[S]]#0,
  // AUTO-NEXT: pst.masked_matmul {{.*}} stored(%[[S]]#0,
  // AUTO-NEXT: pst.materialize @map(
  // AUTO-NEXT: pst.masked_matmul
  // AUTO-NEXT: pst.materialize @map(%[[W]]) threshold(
  // AUTO-NEXT: pst.masked_matmul
  %a = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) pruned(%pruned) : tensor<256x64xf32>, (tensor<96x64xf32>) -> tensor<256x96xf32>
  %b = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) pruned(%pruned) : tensor<256x64xf32>, (tensor<96x64xf32>) -> tensor<256x96xf32>
  %c = pst.masked_matmul %x, @map(%v) threshold(%tau, %cut) pruned(%pruned) : tensor<256x64xf32>, (tensor<96x64xf32>) -> tensor<256x96xf32>
  %d = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) pruned(%pruned) : tensor<256x64xf32>, (tensor<96x64xf32>) -> tensor<256x96xf32>
  return %a, %b, %c, %d : tensor<256x96xf32>, tensor<256x96xf32>, tensor<256x96xf32>, tensor<256x96xf32>
}

// What follows a product follows its other forms too.

// CHECK-LABEL: func.func @epilogue
func.func @epilogue(%x: tensor<256x64xf32>, %w: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>, %pruned: tensor<i64>, %r: tensor<256x96xf32>) -> tensor<256x96xf32> {
  // AUTO: pst.masked_matmul {{.*}} stored({{.*}}) addend(%{{.*}}) activation relu
  // COMPRESSED: pst.stored_matmul %{{.*}}, compressed({{.*}}) addend(%{{.*}}) activation relu
  // BUFFER: %[[Y:.*]] = nn.linear
  // BUFFER-NEXT: %[[SUM:.*]] = nn.add %[[Y]], %{{.*}}
  // BUFFER-NEXT: nn.activation relu %[[SUM]]
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) pruned(%pruned) addend(%r) activation relu : tensor<256x64xf32>, (tensor<96x64xf32>) addend tensor<256x96xf32> -> tensor<256x96xf32>
  return %y : tensor<256x96xf32>
}
