// RUN: pst-opt %s --pst-plan-memory --split-input-file | FileCheck %s

// Buffers that live at the same time do not overlap, others share their place;
// scratch is told apart; a returned buffer becomes an output and is written in
// place; parameters become arguments or views of their space.

// CHECK: pst.memory = {arena = 192 : i64, cache = 0 : i64, frozen = 24 : i64, state = 0 : i64, trainable = 64 : i64, workspace = 64 : i64}
// CHECK-LABEL: func.func @f(
// CHECK-SAME: %[[X:.*]]: memref<2x3xf32> {pst.kind = "input", pst.name = "arg0"},
// CHECK-SAME: %[[OUT:.*]]: memref<2x3xf32> {pst.kind = "output", pst.name = "y"},
// CHECK-SAME: %[[W:.*]]: memref<2x3xf32> {pst.kind = "parameter", pst.name = "w"},
// CHECK-SAME: %[[T:.*]]: memref<64xi8> {pst.kind = "space", pst.name = "trainable"},
// CHECK-SAME: %[[G:.*]]: memref<64xi8> {pst.kind = "space", pst.name = "gradient"},
// CHECK-SAME: %[[ARENA:.*]]: memref<192xi8> {pst.kind = "space", pst.name = "arena"}
// CHECK-DAG: %[[U:.*]] = memref.view %[[T]]
// CHECK-DAG: %[[DU:.*]] = memref.view %[[G]]
// CHECK: pst.launch @k ins(%[[X]], %[[W]] :
// CHECK: pst.launch @k ins({{.*}}, %[[U]] :
// CHECK: pst.launch @k ins({{.*}}, %[[DU]] :
// CHECK-SAME: outs(%[[OUT]], %{{.*}} :
// CHECK-NEXT: return

pst.parameter @w frozen init<file "w"> : tensor<2x3xf32>
pst.parameter @u trainable init<zeros> {offset = 0 : i64} : tensor<2x3xf32>
func.func @f(%x: memref<2x3xf32>) -> (memref<2x3xf32> {pst.name = "y"}) {
  %w = pst.buffer @w : memref<2x3xf32>
  %u = pst.buffer @u : memref<2x3xf32>
  %du = pst.buffer @u gradient : memref<2x3xf32>
  %a = memref.alloc() : memref<2x3xf32>
  %b = memref.alloc() : memref<2x3xf32>
  %c = memref.alloc() : memref<2x3xf32>
  %s1 = memref.alloc() : memref<16xf32>
  %s2 = memref.alloc() : memref<16xf32>
  %s3 = memref.alloc() : memref<16xf32>
  pst.launch @k ins(%x, %w : memref<2x3xf32>, memref<2x3xf32>) outs(%a, %s1 : memref<2x3xf32>, memref<16xf32>) {workspace = 1 : i64}
  pst.launch @k ins(%a, %u : memref<2x3xf32>, memref<2x3xf32>) outs(%b, %s2 : memref<2x3xf32>, memref<16xf32>) {workspace = 1 : i64}
  pst.launch @k ins(%b, %du : memref<2x3xf32>, memref<2x3xf32>) outs(%c, %s3 : memref<2x3xf32>, memref<16xf32>) {workspace = 1 : i64}
  return %c : memref<2x3xf32>
}
func.func private @k(memref<2x3xf32>, memref<2x3xf32>, memref<2x3xf32>, memref<16xf32>)

// -----

// What is returned twice is written in place once, and copied from there.

// CHECK-LABEL: func.func @twice(
// CHECK-SAME: %[[X:.*]]: memref<2x3xf32> {pst.kind = "input",
// CHECK-SAME: %[[FIRST:.*]]: memref<2x3xf32> {pst.kind = "output", pst.name = "result0"},
// CHECK-SAME: %[[SECOND:.*]]: memref<2x3xf32> {pst.kind = "output", pst.name = "result1"}
// CHECK-NEXT: pst.launch @k ins(%[[X]] : {{.*}}) outs(%[[FIRST]] :
// CHECK-NEXT: memref.copy %[[FIRST]], %[[SECOND]]
// CHECK-NEXT: return
func.func @twice(%x: memref<2x3xf32>) -> (memref<2x3xf32>, memref<2x3xf32>) {
  %a = memref.alloc() : memref<2x3xf32>
  pst.launch @k ins(%x : memref<2x3xf32>) outs(%a : memref<2x3xf32>)
  return %a, %a : memref<2x3xf32>, memref<2x3xf32>
}
func.func private @k(memref<2x3xf32>, memref<2x3xf32>)
