// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize | FileCheck %s
// RUN: pst-opt %s --pst-emit-cpu-kernels=vector-width=16 --canonicalize | FileCheck %s --check-prefix=WIDE

// Attention runs one task for each head of each sequence, a function of its
// own, whose scratch is on the stack of its thread.

// CHECK-LABEL: func.func @heads
// CHECK: pst.launch @attention_128x96_2x64xi32_heads3 ins(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} :
// CHECK: pst.launch @attention_backward_128x96_2x64xi32_heads3_probability{{[0-9a-f]+}} ins
func.func @heads(%q: tensor<128x96xf32>, %mask: tensor<2x64xi32>, %seed: i64) -> (tensor<128x96xf32>, tensor<128x96xf32>, tensor<128x96xf32>) {
  %y = nn.attention %q, %q, %q, %mask heads 3 : tensor<128x96xf32>, tensor<2x64xi32>
  %dq, %dk, %dv = nn.attention_backward %q, %q, %q, %mask, %y heads 3 dropout %seed probability 1.000000e-01 site 2 : tensor<128x96xf32>, tensor<2x64xi32>
  return %dq, %dk, %dv : tensor<128x96xf32>, tensor<128x96xf32>, tensor<128x96xf32>
}

// CHECK-LABEL: func.func private @attention_128x96_2x64xi32_heads3(
// CHECK: scf.parallel (%[[TASK:.*]]) = (%c0) to (%c6) step (%c1)
// CHECK-NEXT: func.call @attention_128x96_2x64xi32_heads3_head(%[[TASK]],

// No buffer holds more than a block of 32 query rows x 64 keys.

// CHECK-LABEL: func.func private @attention_128x96_2x64xi32_heads3_head(
// CHECK-NOT: memref<64x64xf32>
// CHECK: memref.alloca() {{.*}} : memref<32x64xf32>
// CHECK: scf.for %{{.*}} = %c0 to %c64 step %c32
// CHECK: math.fma {{.*}} : vector<8xf32>
// CHECK: return

// CHECK-LABEL: func.func private @attention_backward_128x96_2x64xi32_heads3_probability
// CHECK: func.call @attention_backward_128x96_2x64xi32_heads3_probability{{[0-9a-f]+}}_head(

// CHECK-LABEL: func.func private @attention_backward_128x96_2x64xi32_heads3_probability
// CHECK-NOT: memref<64x64xf32>
// CHECK: arith.muli {{.*}} : vector<8xi32>

// WIDE: math.fma {{.*}} : vector<16xf32>
// WIDE-NOT: vector<8xf32>
