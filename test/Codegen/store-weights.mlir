// RUN: pst-opt %s --pst-store-weights | FileCheck %s --check-prefixes=CHECK,AUTO
// RUN: pst-opt %s --pst-store-weights="storage=compressed" | FileCheck %s --check-prefixes=CHECK,ALL
// RUN: pst-opt %s --pst-store-weights="storage=dense" | FileCheck %s --check-prefix=DENSE
// RUN: pst-opt %s --pst-store-weights --pst-emit-cpu-kernels --pst-stage-memory | FileCheck %s --check-prefix=MEMORY
// RUN: not pst-opt %s --pst-store-weights="storage=sparse" 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// UNKNOWN: for the --storage option: Cannot find option named 'sparse'!

// Weights whose zeros are known are stored where that is faster; what each form
// takes is noted. Of a shape, those that keep about as many share a room: 700
// elements and 16 slots for each of four cells.

// CHECK: pst.criterion @pst_as_it_is(%[[W:.*]]: dense) {
// CHECK-NEXT: pst.yield weight %[[W]]
// CHECK: pst.parameter @many frozen init<file "many"> {pst.cost = {compressed = {{.*}}, dense = {{.*}}}, pst.kept = 700 : i64}
// CHECK-NEXT: pst.parameter @many.pst_values state init<zeros> : tensor<764xf32>
// CHECK-NEXT: pst.parameter @many.pst_columns state init<zeros> : tensor<764xi8>
// CHECK-NEXT: pst.parameter @many.pst_cells state init<zeros> : tensor<4x65xi32>
// CHECK-NEXT: pst.parameter @many.pst_used state init<zeros> : tensor<i32>
pst.parameter @many frozen init<file "many"> {pst.kept = 700 : i64} : tensor<100x200xf32>
// CHECK: pst.parameter @fewer.pst_values state init<zeros> : tensor<764xf32>
pst.parameter @fewer frozen init<file "fewer"> {pst.kept = 600 : i64} : tensor<100x200xf32>
// CHECK: pst.parameter @none.pst_values state init<zeros> : tensor<64xf32>
pst.parameter @none frozen init<file "none"> {pst.kept = 0 : i64} : tensor<100x200xf32>
// A weight that is nearly dense is faster so.
// AUTO: pst.parameter @nearly frozen init<file "nearly"> {pst.cost = {compressed = {{.*}}, dense = {{.*}}}, pst.kept = 19000 : i64}
// AUTO-NOT: @nearly.pst_values
// ALL: pst.parameter @nearly.pst_values state init<zeros> : tensor<19064xf32>
pst.parameter @nearly frozen init<file "nearly"> {pst.kept = 19000 : i64} : tensor<100x200xf32>
// Of a transpose, cells are those of the matrix that is multiplied by.
// CHECK: pst.parameter @turned.pst_cells state init<zeros> : tensor<4x65xi32>
pst.parameter @turned frozen init<file "turned"> {pst.kept = 700 : i64} : tensor<200x100xf32>
// What has no zeros, is trained, or is more than a product's weight stays.
// CHECK-NOT: @{{whole|trained|shared}}.pst_
pst.parameter @whole frozen init<file "whole"> : tensor<100x200xf32>
pst.parameter @trained trainable init<file "trained"> {pst.kept = 700 : i64} : tensor<100x200xf32>
pst.parameter @shared frozen init<file "shared"> {pst.kept = 700 : i64} : tensor<100x200xf32>

// CHECK-LABEL: func.func @forward
// CHECK-DAG: %[[V:.*]] = pst.load @many.pst_values : tensor<764xf32>
// CHECK-DAG: %[[C:.*]] = pst.load @many.pst_columns : tensor<764xi8>
// CHECK-DAG: %[[P:.*]] = pst.load @many.pst_cells : tensor<4x65xi32>
// CHECK-DAG: %[[U:.*]] = pst.load @many.pst_used : tensor<i32>
// CHECK: pst.stored_matmul %{{.*}}, compressed(%[[V]], %[[C]], %[[P]], %[[U]]) bias(
// CHECK: pst.stored_matmul
// CHECK: pst.stored_matmul
// AUTO: nn.linear %{{.*}}, %{{.*}} : tensor<128x200xf32>, tensor<100x200xf32>
// ALL: pst.stored_matmul
// CHECK: pst.stored_matmul %{{.*}} : tensor<128x200xf32>
// CHECK-COUNT-3: nn.linear
// DENSE-NOT: pst.stored_matmul
// DENSE-NOT: pst.cost
func.func @forward(%x: tensor<128x200xf32>, %bias: tensor<100xf32>) -> (tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<100x200xf32>) {
  %many = pst.load @many : tensor<100x200xf32>
  %0 = nn.linear %x, %many bias(%bias : tensor<100xf32>) : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %fewer = pst.load @fewer : tensor<100x200xf32>
  %1 = nn.linear %x, %fewer : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %none = pst.load @none : tensor<100x200xf32>
  %2 = nn.linear %x, %none : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %nearly = pst.load @nearly : tensor<100x200xf32>
  %3 = nn.linear %x, %nearly : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %turned = pst.load @turned : tensor<200x100xf32>
  %4 = nn.linear %x, %turned transposed : tensor<128x200xf32>, tensor<200x100xf32> -> tensor<128x100xf32>
  %whole = pst.load @whole : tensor<100x200xf32>
  %5 = nn.linear %x, %whole : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %trained = pst.load @trained : tensor<100x200xf32>
  %6 = nn.linear %x, %trained : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %shared = pst.load @shared : tensor<100x200xf32>
  %7 = nn.linear %x, %shared : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  return %0, %1, %2, %3, %4, %5, %6, %7, %shared : tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<100x200xf32>
}

// A function for each weight.
// CHECK-LABEL: func.func @pack.0() -> (tensor<i32> {pst.name = "many"})
// CHECK: %[[W:.*]] = pst.load @many : tensor<100x200xf32>
// CHECK-NEXT: %[[S:.*]]:4 = pst.materialize @pst_as_it_is(%[[W]]) as compressed : (tensor<100x200xf32>) -> tensor<764xf32>, tensor<764xi8>, tensor<4x65xi32>, tensor<i32>
// CHECK-NEXT: pst.store %[[S]]#0, @many.pst_values
// CHECK-NEXT: pst.store %[[S]]#1, @many.pst_columns
// CHECK-NEXT: pst.store %[[S]]#2, @many.pst_cells
// CHECK-NEXT: pst.store %[[S]]#3, @many.pst_used
// The slots that a weight lacks.
// CHECK: %[[USED:.*]] = tensor.extract %[[S]]#3[]
// CHECK: %[[ROOM:.*]] = arith.constant 764 : i32
// CHECK: %[[BEYOND:.*]] = arith.subi %[[USED]], %[[ROOM]]
// CHECK: arith.maxsi %[[BEYOND]],
// CHECK-LABEL: func.func @pack.1() -> (tensor<i32> {pst.name = "fewer"})
// CHECK-LABEL: func.func @pack.{{[34]}}() -> (tensor<i32> {pst.name = "turned"})
// CHECK: pst.materialize @pst_as_it_is(%{{.*}}) transposed as compressed : (tensor<200x100xf32>) -> tensor<764xf32>

// Weights of one room share the kernel that packs them, straight into the state.
// MEMORY-LABEL: func.func @pack.0
// MEMORY: %[[PLACE:.*]] = memref.view %{{.*}} : memref<{{.*}}xi8> to memref<764xf32>
// MEMORY: pst.launch @[[KERNEL:materialize.*]] ins(%{{.*}} : memref<100x200xf32>) outs(%[[PLACE]],
// MEMORY-LABEL: func.func @pack.1
// MEMORY: pst.launch @[[KERNEL]] ins(
