// RUN: pst-opt %s --pst-store-weights="storage=compressed type=int8" | FileCheck %s
// RUN: pst-opt %s --pst-store-weights="storage=dense type=int8" | FileCheck %s --check-prefix=DENSE
// RUN: pst-opt %s --pst-store-weights="storage=compressed type=int8" --pst-stage-kernels --pst-stage-memory | FileCheck %s --check-prefix=MEMORY
// RUN: pst-opt %s --pst-store-weights="storage=bitmask type=int8" | FileCheck %s --check-prefix=BITMASK
// RUN: pst-opt %s --pst-store-weights="type=int8 expand-bits=8" | FileCheck %s --check-prefix=BITMASK

// In 8 bits: by its elements what has zeros, whole what has none, and tables
// with a scale for each row.

// CHECK: pst.parameter @table frozen init<file "table"> : tensor<50x24xf32>
// CHECK-NEXT: pst.parameter @table.pst_values state init<zeros> : tensor<50x24xi8>
// CHECK-NEXT: pst.parameter @table.pst_scales state init<zeros> : tensor<50xf32>
pst.parameter @table frozen init<file "table"> : tensor<50x24xf32>
pst.parameter @long frozen init<file "long"> : tensor<100x5000xf32>
// CHECK: pst.parameter @sparse.pst_values state init<zeros> : tensor<116xi8>
// CHECK-NEXT: pst.parameter @sparse.pst_columns state init<zeros> : tensor<116xi8>
// CHECK-NEXT: pst.parameter @sparse.pst_cells state init<zeros> : tensor<1x65xi32>
// CHECK-NEXT: pst.parameter @sparse.pst_used state init<zeros> : tensor<i32>
// CHECK-NEXT: pst.parameter @sparse.pst_scales state init<zeros> : tensor<24xf32>
// BITMASK: pst.parameter @sparse frozen init<file "sparse"> {pst.cost = {bitmask = {{.*}}, compressed = {{.*}}, dense = {{.*}}}, pst.kept = 100 : i64}
// BITMASK-NEXT: pst.parameter @sparse.pst_values state init<zeros> : tensor<164xi8>
// BITMASK-NEXT: pst.parameter @sparse.pst_bits state init<zeros> : tensor<200xi8>
// BITMASK-NEXT: pst.parameter @sparse.pst_starts state init<zeros> : tensor<24x1xi32>
// BITMASK-NEXT: pst.parameter @sparse.pst_used state init<zeros> : tensor<i32>
// BITMASK-NEXT: pst.parameter @sparse.pst_scales state init<zeros> : tensor<24xf32>
// DENSE: pst.parameter @sparse.pst_values state init<zeros> : tensor<24x24xi8>
pst.parameter @sparse frozen init<file "sparse"> {pst.kept = 100 : i64} : tensor<24x24xf32>
// Of a transpose, rows are those of the matrix that is multiplied by.
// CHECK: pst.parameter @turned.pst_values state init<zeros> : tensor<10x24xi8>
// CHECK-NEXT: pst.parameter @turned.pst_scales state init<zeros> : tensor<10xf32>
pst.parameter @turned frozen init<file "turned"> : tensor<24x10xf32>
// What is read in both forms, or by what has no scales, stays.
// CHECK-NOT: @{{both|read|vector}}.pst_
pst.parameter @both frozen init<file "both"> : tensor<24x24xf32>
pst.parameter @read frozen init<file "read"> : tensor<24x24xf32>
pst.parameter @vector frozen init<file "vector"> : tensor<24xf32>

// CHECK-LABEL: func.func @forward
// CHECK: %[[V:.*]] = pst.load @table.pst_values : tensor<50x24xi8>
// CHECK: %[[S:.*]] = pst.load @table.pst_scales : tensor<50xf32>
// CHECK: nn.embedding %{{.*}}, %[[V]] scales(%[[S]] : tensor<50xf32>)
// CHECK: nn.add_positions %{{.*}}, %{{.*}} scales(%{{.*}} : tensor<50xf32>) length 3
// CHECK: pst.stored_matmul %{{.*}}, compressed(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) : tensor<6x24xf32>, (tensor<116xi8>,
// BITMASK: pst.stored_matmul %{{.*}}, bitmask(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) : tensor<6x24xf32>, (tensor<164xi8>,
// DENSE: pst.stored_matmul %{{.*}}, quantized(%{{.*}}, %{{.*}}) : tensor<6x24xf32>, (tensor<24x24xi8>, tensor<24xf32>)
// CHECK: pst.stored_matmul %{{.*}}, quantized(%{{.*}}, %{{.*}}) : tensor<6x24xf32>, (tensor<50x24xi8>, tensor<50xf32>)
// CHECK: pst.stored_matmul %{{.*}}, quantized(%{{.*}}, %{{.*}}) : tensor<6x24xf32>, (tensor<10x24xi8>, tensor<10xf32>)
// CHECK-COUNT-3: nn.linear
// CHECK-NOT: pst.load @{{table|sparse|turned}} :
func.func @forward(%ids: tensor<2x3xi32>) -> (tensor<6x5000xf32>, tensor<6x50xf32>, tensor<6x10xf32>, tensor<6x24xf32>, tensor<24x24xf32>) {
  %table = pst.load @table : tensor<50x24xf32>
  %e = nn.embedding %ids, %table : tensor<2x3xi32>, tensor<50x24xf32> -> tensor<6x24xf32>
  %p = nn.add_positions %e, %table length 3 : tensor<6x24xf32>, tensor<50x24xf32>
  %sparse = pst.load @sparse : tensor<24x24xf32>
  %0 = nn.linear %p, %sparse : tensor<6x24xf32>, tensor<24x24xf32> -> tensor<6x24xf32>
  %1 = nn.linear %0, %table : tensor<6x24xf32>, tensor<50x24xf32> -> tensor<6x50xf32>
  %turned = pst.load @turned : tensor<24x10xf32>
  %2 = nn.linear %0, %turned transposed : tensor<6x24xf32>, tensor<24x10xf32> -> tensor<6x10xf32>
  %both = pst.load @both : tensor<24x24xf32>
  %3 = nn.linear %0, %both : tensor<6x24xf32>, tensor<24x24xf32> -> tensor<6x24xf32>
  %4 = nn.linear %3, %both transposed : tensor<6x24xf32>, tensor<24x24xf32> -> tensor<6x24xf32>
  %read = pst.load @read : tensor<24x24xf32>
  %5 = nn.linear %4, %read : tensor<6x24xf32>, tensor<24x24xf32> -> tensor<6x24xf32>
  %long = pst.load @long : tensor<100x5000xf32>
  %l = nn.embedding %ids, %long : tensor<2x3xi32>, tensor<100x5000xf32> -> tensor<6x5000xf32>
  return %l, %1, %2, %5, %read : tensor<6x5000xf32>, tensor<6x50xf32>, tensor<6x10xf32>, tensor<6x24xf32>, tensor<24x24xf32>
}

// A matrix is stored row by row, some rows at a time, which are of its name as
// their results are of those that they are stored in: so many as are 1 MiB.
// CHECK-LABEL: func.func @pack.0(%{{.*}}: tensor<50x24xf32> {pst.name = "table"}) -> (tensor<50x24xi8> {pst.name = "table.pst_values"}, tensor<50xf32> {pst.name = "table.pst_scales"}) {
// CHECK-NEXT: %[[T:.*]]:2 = pst.materialize @pst_as_it_is(%{{.*}}) as quantized : (tensor<50x24xf32>) -> tensor<50x24xi8>, tensor<50xf32>
// CHECK-NEXT: return %[[T]]#0, %[[T]]#1
// CHECK-LABEL: func.func @pack.1(%{{.*}}: tensor<64x5000xf32> {pst.name = "long"}) -> (tensor<64x5000xi8> {{{.*}}}, tensor<64xf32> {{{.*}}})
// Only what leaves zeros out may lack room.
// CHECK-LABEL: func.func @pack.2() -> (tensor<i32> {pst.name = "sparse"})
// CHECK: %[[P:.*]]:5 = pst.materialize @pst_as_it_is(%{{.*}}) as compressed : (tensor<24x24xf32>) -> tensor<116xi8>, tensor<116xi8>, tensor<1x65xi32>, tensor<i32>, tensor<24xf32>
// CHECK: tensor.extract %[[P]]#3[]
// CHECK-LABEL: func.func @pack.3() {
// CHECK: pst.materialize @pst_as_it_is(%{{.*}}) transposed as quantized : (tensor<24x10xf32>) -> tensor<10x24xi8>, tensor<10xf32>
// DENSE-LABEL: func.func @pack.2(
// DENSE: pst.materialize
// DENSE-LABEL: func.func @pack.3() {
// DENSE: pst.materialize
// DENSE-NOT: func.func @pack

// What a function takes in pieces is in memory so: 64 x 5000 elements, and what
// others read.
// MEMORY: pst.memory = {{{.*}}frozen = 1284704 : i64
// MEMORY-LABEL: func.func @pack.0
// MEMORY: pst.launch @materialize{{.*}}quantized{{.*}} ins(%{{.*}} : memref<50x24xf32>) outs(%{{.*}} : memref<50x24xi8>, memref<50xf32>)
