// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize --cse | FileCheck %s

// An adaptive product holds both forms and takes one by how many elements
// are pruned; they share the workspace. The compressed one keeps what is not zero, and
// multiplies each such element by a panel of tokens.

pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

// CHECK-LABEL: func.func @forward
// CHECK: pst.launch @masked_matmul_{{.*}}_map_adaptive ins
func.func @forward(%x: tensor<256x64xf32>, %w: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>, %pruned: tensor<i64>) -> tensor<256x96xf32> {
  %y = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) pruned(%pruned) as adaptive : tensor<256x64xf32>, (tensor<96x64xf32>) -> tensor<256x96xf32>
  return %y : tensor<256x96xf32>
}

// CHECK-LABEL: func.func private @masked_matmul_{{.*}}_map_adaptive(
// CHECK: %[[PRUNED:.*]] = memref.load %{{.*}}[] : memref<i64>
// CHECK: %[[ENOUGH:.*]] = arith.cmpi sge, %[[PRUNED]]
// CHECK: scf.if %[[ENOUGH]] {
// CHECK-NEXT: func.call @[[NAME:.*_adaptive]]_compress(
// CHECK: %[[FITS:.*]] = arith.cmpi sle
// CHECK-NEXT: scf.if %[[FITS]] {
// CHECK-NEXT: func.call @[[NAME]]_sparse(
// CHECK-NEXT: } else {
// CHECK-NEXT: func.call @[[NAME]]_packed(
// CHECK: } else {
// CHECK-NEXT: func.call @[[NAME]]_packed(

// CHECK-LABEL: func.func private @masked_matmul_{{.*}}_map_adaptive_compress(
// CHECK: scf.parallel
// CHECK: %[[KEPT:.*]] = arith.cmpf une, %[[VALUE:.*]], %{{.*}} : vector<8xf32>
// CHECK: vector.bitcast %[[KEPT]] : vector<8xi1> to vector<1xi8>
// CHECK: vector.load %{{.*}} : memref<256x8xi8>, vector<8xi8>
// CHECK-COUNT-8: vector.extract %[[VALUE]][%{{.*}}] : f32 from vector<8xf32>
// CHECK: %[[START:.*]] = memref.atomic_rmw addi
// A cell for which there is no room is not written.
// CHECK: %[[ROOM:.*]] = arith.cmpi sle
// CHECK: scf.if %[[ROOM]] {

// CHECK-LABEL: func.func private @masked_matmul_{{.*}}_map_adaptive_sparse(
// CHECK: scf.parallel
// Eight vectors of tokens for each element.
// CHECK: %[[SUMS:.*]]:8 = scf.for
// CHECK-COUNT-8: math.fma {{.*}} : vector<8xf32>
// CHECK: scf.yield
