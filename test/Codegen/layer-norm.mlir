// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize | FileCheck %s

// Layer normalisation: rows in parallel; the backward sums the gradients of
// scale and shift by chunks of 64 rows into a workspace, then chunk by chunk.

// CHECK-LABEL: func.func @layer
// CHECK: pst.launch @layer_norm_70x24_24_epsilon[[EPSILON:[0-9a-f]+]] ins
// CHECK: %[[SCRATCH:.*]] = tensor.empty() : tensor<2x2x24xf32>
// CHECK: pst.launch @layer_norm_backward_70x24_24_epsilon[[EPSILON]] ins({{.*}}) outs({{.*}}, %[[SCRATCH]] : {{.*}}) {workspace = 1 : i64}
func.func @layer(%x: tensor<70x24xf32>, %s: tensor<24xf32>, %t: tensor<24xf32>) -> (tensor<70x24xf32>, tensor<24xf32>, tensor<24xf32>) {
  %y = nn.layer_norm %x, %s, %t epsilon 1.000000e-12 : tensor<70x24xf32>, tensor<24xf32>
  %dx, %ds, %dt = nn.layer_norm_backward %x, %s, %y epsilon 1.000000e-12 : tensor<70x24xf32>, tensor<24xf32>
  return %dx, %ds, %dt : tensor<70x24xf32>, tensor<24xf32>, tensor<24xf32>
}

// CHECK: func.func private @layer_norm_70x24_24_
// CHECK: scf.parallel
// CHECK: math.sqrt
// CHECK: func.func private @layer_norm_backward_70x24_24_
// CHECK-SAME: %[[PARTIALS:[a-z0-9]+]]: memref<2x2x24xf32>)
// CHECK: scf.parallel (%{{.*}}) = (%c0) to (%c2) step (%c1)
// CHECK: vector.store %{{.*}}, %[[PARTIALS]]
// CHECK: scf.reduce
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 iter_args
// CHECK: vector.load %[[PARTIALS]]
