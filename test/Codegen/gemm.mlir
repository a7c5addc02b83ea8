// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize | FileCheck %s

// Products are packed into panels and multiplied by one micro-kernel; ops of
// one shape share a kernel, whose name tells all that it depends on.

// CHECK-LABEL: func.func @layers
// CHECK: pst.launch @linear_50x24_40x24_bias ins({{.*}}) outs({{.*}}) {workspace = 1 : i64}
// CHECK: pst.launch @linear_50x24_40x24_bias
// CHECK: pst.launch @linear_50x24_40x24 ins
// CHECK: pst.launch @matmul_50x40t_50x24 ins
func.func @layers(%x: tensor<50x24xf32>, %w: tensor<40x24xf32>, %b: tensor<40xf32>) -> (tensor<50x40xf32>, tensor<50x40xf32>, tensor<40x24xf32>) {
  %y = nn.linear %x, %w bias(%b : tensor<40xf32>) : tensor<50x24xf32>, tensor<40x24xf32> -> tensor<50x40xf32>
  %z = nn.linear %x, %w bias(%b : tensor<40xf32>) : tensor<50x24xf32>, tensor<40x24xf32> -> tensor<50x40xf32>
  %p = nn.linear %x, %w : tensor<50x24xf32>, tensor<40x24xf32> -> tensor<50x40xf32>
  %g = nn.matmul %p, %x {transpose_lhs} : tensor<50x40xf32>, tensor<50x24xf32> -> tensor<40x24xf32>
  return %y, %z, %g : tensor<50x40xf32>, tensor<50x40xf32>, tensor<40x24xf32>
}

// The panels of B are packed by all threads, transposed by shuffles; each
// thread packs its rows of A on its stack. The tile is 6 x 2 vectors.

// CHECK-LABEL: func.func private @linear_50x24_40x24_bias(
// CHECK-SAME: %[[PACKED:[a-z0-9]+]]: memref<1160xf32>)
// CHECK: scf.parallel
// CHECK: vector.shuffle
// CHECK: vector.store %{{.*}}, %[[PACKED]]
// CHECK: scf.parallel
// CHECK: %[[A:.*]] = memref.alloca() {alignment = 64 : i64}
// CHECK: scf.for {{.*}} -> (vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>)
// CHECK-COUNT-48: math.fma
// CHECK-NOT: math.fma
// CHECK: scf.yield

// A transposed A is packed as it lies.

// CHECK-LABEL: func.func private @matmul_50x40t_50x24(
// CHECK-NOT: vector.shuffle
// CHECK: return
