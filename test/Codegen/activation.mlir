// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize | FileCheck %s

// Elementwise kernels: parallel chunks that do not depend on the number of
// threads, the remainder after them, whole vectors before single elements.
// Ops of one kind and shape share a kernel.

// CHECK-LABEL: func.func @activations
// CHECK: %[[Y:.*]] = pst.launch @activation_67x199_gelu ins(%{{.*}} : tensor<67x199xf32>) outs(%{{.*}} : tensor<67x199xf32>) -> tensor<67x199xf32>
// CHECK: pst.launch @activation_67x199_gelu ins(%[[Y]]
// CHECK: pst.launch @activation_backward_67x199_relu ins(%{{.*}}, %[[Y]]
func.func @activations(%x: tensor<67x199xf32>) -> (tensor<67x199xf32>, tensor<67x199xf32>) {
  %y = nn.activation gelu %x : tensor<67x199xf32>
  %z = nn.activation gelu %y : tensor<67x199xf32>
  %d = nn.activation_backward relu %x, %y : tensor<67x199xf32>
  return %z, %d : tensor<67x199xf32>, tensor<67x199xf32>
}

// 13333 elements: three chunks of 4096, 1040 in whole vectors, 5 single ones.
// No call and no approximation of MLIR's: the formula is spelled out.

// CHECK-LABEL: func.func private @activation_67x199_gelu(
// CHECK-SAME: memref<67x199xf32>, %{{.*}}: memref<67x199xf32>)
// CHECK-NOT: math.erf
// CHECK-NOT: math.exp
// CHECK: scf.parallel (%{{.*}}) = (%c0) to (%c3) step (%c1)
// CHECK: scf.for %{{.*}} = %c0 to %c4096 step %c8
// CHECK: arith.divf {{.*}} : vector<8xf32>
// CHECK: scf.reduce
// CHECK: scf.for %{{.*}} = %c0 to %c1040 step %c8
// CHECK: scf.for %{{.*}} = %c1040 to %c1045 step %c1
// CHECK: arith.divf {{.*}} : f32
// CHECK: return

// The derivative of relu at 0 is 0.

// CHECK-LABEL: func.func private @activation_backward_67x199_relu(
// CHECK: arith.cmpf ogt, %{{.*}}, %{{.*}} : vector<8xf32>

// A column sum holds four vectors of columns while the rows go by.

// CHECK-LABEL: func.func private @column_sum_10x64_64(
// CHECK: scf.parallel (%{{.*}}) = (%c0) to (%c2) step (%c1)
// CHECK: scf.for %{{.*}} = %c0 to %c10 step %c1 iter_args({{.*}}) -> (vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>)
// CHECK-COUNT-4: arith.addf
// CHECK: scf.yield
func.func @column_sum(%x: tensor<10x64xf32>) -> tensor<64xf32> {
  %y = nn.column_sum %x : tensor<10x64xf32> -> tensor<64xf32>
  return %y : tensor<64xf32>
}
