// RUN: pst-opt %s --pst-emit-cpu-kernels --canonicalize | FileCheck %s

// A loss of each row, then their sum in f64, in order. A row whose label is
// no class is no example, and its logits are not looked at.

// CHECK-LABEL: func.func @loss
// CHECK: pst.launch @cross_entropy_3x2_3xi32_f32 ins({{.*}}, f32) outs({{.*}} : tensor<f32>, tensor<3xf32>) {workspace = 1 : i64}
func.func @loss(%x: tensor<3x2xf32>, %labels: tensor<3xi32>, %scale: f32) -> tensor<f32> {
  %loss = nn.cross_entropy %x, %labels, %scale : tensor<3x2xf32>, tensor<3xi32>
  return %loss : tensor<f32>
}

// CHECK-LABEL: func.func private @cross_entropy_3x2_3xi32_f32(
// CHECK: scf.parallel
// CHECK: %[[EXAMPLE:.*]] = arith.cmpi ult, %{{.*}}, %c2_i32
// CHECK: scf.if %[[EXAMPLE]]
// CHECK: scf.for {{.*}} -> (f64)
// CHECK: arith.truncf {{.*}} : f64 to f32
