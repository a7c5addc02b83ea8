// RUN: pst-opt %s --pst-narrow-frozen="type=bf16" | FileCheck %s
// RUN: pst-opt %s --pst-narrow-frozen | FileCheck %s --check-prefix=WIDE
// RUN: not pst-opt %s --pst-narrow-frozen="type=f16" 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// What is frozen, a matrix, and read by ops that widen it becomes bf16. Not so
// trained parameters, vectors, and what any other op reads.

// WIDE-NOT: bf16
// UNKNOWN: for the --type option: Cannot find option named 'f16'!

// CHECK: pst.parameter @table frozen init<file "table"> : tensor<9x4xbf16>
// CHECK: pst.parameter @w frozen init<file "w"> : tensor<4x4xbf16>
// CHECK: pst.parameter @bias frozen init<file "bias"> : tensor<4xf32>
// CHECK: pst.parameter @u trainable init<zeros> : tensor<4x2xf32>
// CHECK: pst.parameter @v trainable init<zeros> : tensor<2x4xf32>
// CHECK: pst.parameter @added frozen init<file "added"> : tensor<6x4xf32>
pst.parameter @table frozen init<file "table"> : tensor<9x4xf32>
pst.parameter @w frozen init<file "w"> : tensor<4x4xf32>
pst.parameter @bias frozen init<file "bias"> : tensor<4xf32>
pst.parameter @u trainable init<zeros> : tensor<4x2xf32>
pst.parameter @v trainable init<zeros> : tensor<2x4xf32>
pst.parameter @added frozen init<file "added"> : tensor<6x4xf32>

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

// CHECK: pst.load @w : tensor<4x4xbf16>
// CHECK: nn.embedding %{{.*}} : tensor<2x3xi32>, tensor<9x4xbf16> -> tensor<6x4xf32>
// CHECK: pst.masked_matmul {{.*}} : tensor<6x4xf32>, (tensor<4x4xbf16>, tensor<4x2xf32>, tensor<2x4xf32>) bias tensor<4xf32> -> tensor<6x4xf32>
// CHECK: nn.add
func.func @forward(%ids: tensor<2x3xi32>) -> tensor<6x4xf32> {
  %table = pst.load @table : tensor<9x4xf32>
  %w = pst.load @w : tensor<4x4xf32>
  %bias = pst.load @bias : tensor<4xf32>
  %u = pst.load @u : tensor<4x2xf32>
  %v = pst.load @v : tensor<2x4xf32>
  %added = pst.load @added : tensor<6x4xf32>
  %e = nn.embedding %ids, %table : tensor<2x3xi32>, tensor<9x4xf32> -> tensor<6x4xf32>
  %y = pst.masked_matmul %e, @lora(%w, %u, %v) bias(%bias) : tensor<6x4xf32>, (tensor<4x4xf32>, tensor<4x2xf32>, tensor<2x4xf32>) bias tensor<4xf32> -> tensor<6x4xf32>
  %z = nn.add %y, %added : tensor<6x4xf32>
  return %z : tensor<6x4xf32>
}
