// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize --cse | FileCheck %s

// A weight is stored by the elements that are not zero, for a product that
// multiplies each such element by a panel of tokens; or that packs, where there
// was no room for them.

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

// CHECK-LABEL: func.func @forward
// CHECK: %[[S:.*]]:4 = pst.launch @materialize_96x64_{{.*}}_unordered ins
// CHECK: pst.launch @masked_matmul_256x64_{{.*}} ins({{.*}}, %[[S]]#0, %[[S]]#1, %[[S]]#2, %[[S]]#3 :
func.func @forward(%x: tensor<256x64xf32>, %w: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>, %pruned: tensor<i64>) -> tensor<256x96xf32> {
  %s:4 = pst.materialize @map(%w) threshold(%tau, %cut) pruned(%pruned) as compressed unordered
      : (tensor<96x64xf32>) -> tensor<585xf32>, tensor<585xi8>, tensor<2x65xi32>, tensor<i32>
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) stored(%s#0, %s#1, %s#2, %s#3)
      : tensor<256x64xf32>, (tensor<96x64xf32>) stored tensor<585xf32>, tensor<585xi8>, tensor<2x65xi32>, tensor<i32> -> tensor<256x96xf32>
  return %y : tensor<256x96xf32>
}

// In order, cells are counted before any is placed, and nothing is left to
// chance; a product alone has no other way than NaN.

// CHECK-LABEL: func.func @stored
func.func @stored(%x: tensor<5x64xf32>, %w: tensor<96x64xf32>) -> tensor<5x96xf32> {
  %s:4 = pst.materialize @map(%w) as compressed : (tensor<96x64xf32>) -> tensor<6176xf32>, tensor<6176xi8>, tensor<2x65xi32>, tensor<i32>
  %y = pst.stored_matmul %x, compressed(%s#0, %s#1, %s#2, %s#3) : tensor<5x64xf32>, (tensor<6176xf32>, tensor<6176xi8>, tensor<2x65xi32>, tensor<i32>) -> tensor<5x96xf32>
  return %y : tensor<5x96xf32>
}

// CHECK-LABEL: func.func private @materialize_96x64_{{.*}}_unordered(
// CHECK: %[[ENOUGH:.*]] = arith.cmpi sge, %{{.*}}, %{{.*}} : i64
// CHECK: scf.if %[[ENOUGH]] {
// CHECK: scf.parallel
// CHECK: %[[KEPT:.*]] = arith.cmpf une, %[[VALUE:.*]], %{{.*}} : vector<8xf32>
// CHECK: vector.bitcast %[[KEPT]] : vector<8xi1> to vector<1xi8>
// CHECK: vector.load %{{.*}} : memref<256x8xi8>, vector<8xi8>
// CHECK-COUNT-8: vector.extract %[[VALUE]][%{{.*}}] : f32 from vector<8xf32>
// CHECK: memref.atomic_rmw addi
// A cell for which there is no room is not written.
// CHECK: %[[ROOM:.*]] = arith.cmpi sle
// CHECK: scf.if %[[ROOM]] {

// CHECK-LABEL: func.func private @masked_matmul_256x64_{{[^(]*}}_map(
// CHECK: %[[USED:.*]] = memref.load %{{.*}}[] : memref<i32>
// CHECK: %[[WHOLE:.*]] = arith.cmpi sle, %[[USED]], %{{.*}} : i32
// CHECK: scf.if %[[WHOLE]] {
// CHECK-NEXT: func.call @[[NAME:.*]]_sparse(
// CHECK-NEXT: } else {
// CHECK-NEXT: func.call @[[NAME]]_packed(

// CHECK-LABEL: func.func private @masked_matmul_256x64_{{[^(]*}}_map_sparse(
// CHECK: scf.parallel
// Eight vectors of tokens for each element.
// CHECK: %[[SUMS:.*]]:8 = scf.for
// CHECK-COUNT-8: math.fma {{.*}} : vector<8xf32>
// CHECK: scf.yield

// CHECK-LABEL: func.func private @materialize_96x64_6176_{{[^(]*}}(
// CHECK-NOT: memref.atomic_rmw
// CHECK-LABEL: func.func private @stored_matmul_5x64_6176_{{[^(]*}}_compressed(
