// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize | FileCheck %s
// RUN: pst-opt %s --pst-emit-cpu-kernels="m-block=20 n-block=16 k-block=8" | FileCheck %s --check-prefix=GIVEN
// RUN: not pst-opt %s --pst-emit-cpu-kernels="vector-width=3" 2>&1 | FileCheck %s --check-prefix=LANES
// RUN: not pst-opt %s --pst-emit-cpu-kernels="l2-cache=0" 2>&1 | FileCheck %s --check-prefix=CACHE
// RUN: not pst-opt %s --pst-emit-cpu-kernels="k-block=-8" 2>&1 | FileCheck %s --check-prefix=NEGATIVE

// Products are packed into panels and multiplied by one micro-kernel; ops of
// one shape share a kernel, whose name tells all that it depends on.

// CHECK-LABEL: func.func @layers
// CHECK: pst.launch @linear_50x24_40x24_40_50x40 ins({{.*}}) outs({{.*}}) {workspace = 1 : i64}
// CHECK: pst.launch @linear_50x24_40x24_40_50x40
// CHECK: pst.launch @linear_50x24_40x24_50x40 ins
// CHECK: pst.launch @matmul_50x40_50x24_40x24_transpose_lhs ins
func.func @layers(%x: tensor<50x24xf32>, %w: tensor<40x24xf32>, %b: tensor<40xf32>) -> (tensor<50x40xf32>, tensor<50x40xf32>, tensor<40x24xf32>) {
  %y = nn.linear %x, %w bias(%b : tensor<40xf32>) : tensor<50x24xf32>, tensor<40x24xf32> -> tensor<50x40xf32>
  %z = nn.linear %x, %w bias(%b : tensor<40xf32>) : tensor<50x24xf32>, tensor<40x24xf32> -> tensor<50x40xf32>
  %p = nn.linear %x, %w : tensor<50x24xf32>, tensor<40x24xf32> -> tensor<50x40xf32>
  %g = nn.matmul %p, %x {transpose_lhs} : tensor<50x40xf32>, tensor<50x24xf32> -> tensor<40x24xf32>
  return %y, %z, %g : tensor<50x40xf32>, tensor<50x40xf32>, tensor<40x24xf32>
}

// The panels of B are packed by all threads, transposed by shuffles; each
// thread packs its rows of A on its stack. The tile is 6 x 2 vectors.

// Blocks follow from the shapes and the caches, and can be given; m is rounded
// up to whole tiles.
// GIVEN: func.func private @linear_50x24_40x24_40_50x40({{.*}} attributes {pst.blocks = {k = 8 : i64, m = 18 : i64, n = 16 : i64, tile_columns = 16 : i64, tile_rows = 6 : i64}}
// LANES: error: vector-width must be a power of two from 1 to 64, but is 3
// CACHE: error: l2-cache and l3-cache must lie between 1 and 2^30 KiB, but are 0 and 12288
// NEGATIVE: error: block sizes must be positive, or 0 for those of the cost model, but got 0, 0, -8

// CHECK-LABEL: func.func private @linear_50x24_40x24_40_50x40(
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

// CHECK-LABEL: func.func private @matmul_50x40_50x24_40x24_transpose_lhs(
// CHECK-NOT: vector.shuffle
// CHECK: return
