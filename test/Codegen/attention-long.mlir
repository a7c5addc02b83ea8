// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize | FileCheck %s

// Of long sequences, keys come in tiles of 1024: no buffer on the stack grows
// with the length, and a query's sums go from tile to tile in memory.

// CHECK-LABEL: func.func @long
// CHECK: pst.launch @attention_4096x64_1x4096xi32_causal_heads1 ins({{.*}}) outs({{.*}}, %{{.*}}, %{{.*}} : tensor<4096x64xf32>, tensor<1x4096xf32>, tensor<1x4096xf32>) {workspace = 2 : i64}
func.func @long(%q: tensor<4096x64xf32>, %mask: tensor<1x4096xi32>) -> tensor<4096x64xf32> {
  %y = nn.attention %q, %q, %q, %mask heads 1 causal : tensor<4096x64xf32>, tensor<1x4096xi32>
  return %y : tensor<4096x64xf32>
}

// CHECK-LABEL: func.func private @attention_4096x64_1x4096xi32_causal_heads1_head(
// CHECK-NOT: alloca() {{.*}}4096
// CHECK: memref.alloca() {{.*}} : memref<16x1024xf32>
// CHECK-NOT: alloca() {{.*}}4096
// CHECK: scf.for %{{.*}} = %c0 to %c4096 step %c1024
