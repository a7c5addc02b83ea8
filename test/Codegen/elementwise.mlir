// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize | FileCheck %s

// Dropout gets its site as an argument, so that all dropouts of a shape and
// probability share a kernel; accumulation writes into the gradient in place.

pst.parameter @p trainable init<zeros> : tensor<4x8xf32>

// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[X:.*]]: tensor<4x8xf32>, %[[SEED:.*]]: i64
// CHECK-DAG: %[[FIRST:.*]] = arith.constant 3 : i64
// CHECK-DAG: %[[SECOND:.*]] = arith.constant 4 : i64
// CHECK: pst.launch @[[DROPOUT:dropout_4x8_probability[0-9a-f]+]] ins(%[[X]], %[[SEED]], %[[FIRST]] : tensor<4x8xf32>, i64, i64)
// CHECK: %[[Z:.*]] = pst.launch @[[DROPOUT]] ins(%{{.*}}, %[[SEED]], %[[SECOND]] :
// CHECK: pst.launch @dropout_4x8_probability{{[0-9a-f]+}} ins
// CHECK: %[[G:.*]] = pst.load @p gradient
// CHECK: pst.launch @accumulate_4x8 ins(%[[Z]] : tensor<4x8xf32>) outs(%[[G]] : tensor<4x8xf32>)
func.func @main(%x: tensor<4x8xf32>, %seed: i64) -> tensor<4x8xf32> {
  %y = nn.dropout %x, %seed probability 1.000000e-01 site 3 : tensor<4x8xf32>
  %z = nn.dropout %y, %seed probability 1.000000e-01 site 4 : tensor<4x8xf32>
  %other = nn.dropout %y, %seed probability 2.000000e-01 site 4 : tensor<4x8xf32>
  pst.accumulate %z, @p : tensor<4x8xf32>
  return %other : tensor<4x8xf32>
}

// The key is mixed once, in 64 bits; each element's hash in 32 bits.

// CHECK: func.func private @[[DROPOUT]](%{{.*}}: memref<4x8xf32>, %{{.*}}: i64, %{{.*}}: i64, %{{.*}}: memref<4x8xf32>)
// CHECK: arith.muli {{.*}} : i64
// CHECK: scf.for
// CHECK-COUNT-4: arith.muli {{.*}} : vector<8xi32>
// CHECK: arith.cmpi uge, {{.*}} : vector<8xi32>
// CHECK: arith.select {{.*}} : vector<8xi1>, vector<8xf32>

// Of rows that are positions of sequences, a row's sequence enters the hash.

// CHECK: func.func private @dropout_6x8_
// CHECK: scf.for %[[ROW:.*]] =
// CHECK: %[[SEQUENCE:.*]] = arith.divui %[[ROW]], %c3
// CHECK: %[[POSITION:.*]] = arith.remui %[[ROW]], %c3
// CHECK: arith.muli %[[POSITION]], %c8
// CHECK: arith.index_cast %[[SEQUENCE]] : index to i32
func.func @sequences(%x: tensor<6x8xf32>, %seed: i64) -> tensor<6x8xf32> {
  %y = nn.dropout %x, %seed probability 1.000000e-01 site 3 length 3 : tensor<6x8xf32>
  return %y : tensor<6x8xf32>
}
