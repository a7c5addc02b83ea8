// RUN: pst-opt %s --pst-autodiff | FileCheck %s
// RUN: pst-opt %s --pst-mixed-precision=type=bf16 --pst-autodiff | FileCheck %s --check-prefix=NARROW

// A rotation's backward is the rotation by the negative angle; the gradients of
// shared keys have their shape; a table of angles has no gradient.

// CHECK-LABEL: func.func @forward_backward(
// CHECK: %[[T:.*]] = nn.rotary_table
// CHECK: %[[D:.*]] = nn.cross_entropy_backward
// CHECK: nn.gated_activation_backward silu %[[Q:.*]], %{{.*}}, %[[D]] : tensor<10x8xf32>
// CHECK: %[[DV:.*]] = nn.gated_activation silu %[[Q]], %[[D]] : tensor<10x8xf32>
// CHECK: %[[DQ:.*]], %[[DK:.*]], %[[DVALUE:.*]] = nn.attention_backward %{{.*}}, %[[K:.*]], %[[K]], %{{.*}}, %[[DV]] heads 4 causal window 3 : tensor<10x8xf32>, tensor<10x4xf32>, tensor<2x5xi32>
// CHECK: nn.add %[[DK]], %[[DVALUE]] : tensor<10x4xf32>
// CHECK: nn.rotary %[[DQ]], %[[T]] transposed : tensor<10x8xf32>, tensor<5x2xf32>
// CHECK: %{{.*}}, %[[DS:.*]] = nn.rms_norm_backward {{.*}} : tensor<10x3xf32>, tensor<3xf32>
// CHECK: pst.accumulate %[[DS]], @scale : tensor<3xf32>

// NARROW-LABEL: func.func @forward_backward(
// NARROW: nn.rotary_table {{.*}} -> tensor<5x2xf32>
// NARROW: nn.rms_norm {{.*}} : tensor<10x3xbf16>, tensor<3xf32>
// NARROW: nn.rotary {{.*}} : tensor<10x8xbf16>, tensor<5x2xf32>
// NARROW: nn.gated_activation silu {{.*}} : tensor<10x8xbf16>
// NARROW: nn.gated_activation_backward silu {{.*}} : tensor<10x8xbf16>

pst.parameter @scale trainable init<file "s"> : tensor<3xf32>
pst.parameter @wq frozen init<file "q"> : tensor<8x3xf32>
pst.parameter @wk frozen init<file "k"> : tensor<4x3xf32>
func.func @forward(%x: tensor<10x3xf32>, %mask: tensor<2x5xi32>, %labels: tensor<10xi32>, %s: f32)
    -> (tensor<f32> {pst.name = "loss"}) {
  %f = arith.constant dense<[1.0]> : tensor<1xf32>
  %t = nn.rotary_table %f scale 1.0 : tensor<1xf32> -> tensor<5x2xf32>
  %scale = pst.load @scale : tensor<3xf32>
  %wq = pst.load @wq : tensor<8x3xf32>
  %wk = pst.load @wk : tensor<4x3xf32>
  %n = nn.rms_norm %x, %scale epsilon 1.0e-6 : tensor<10x3xf32>, tensor<3xf32>
  %q = nn.linear %n, %wq : tensor<10x3xf32>, tensor<8x3xf32> -> tensor<10x8xf32>
  %k = nn.linear %n, %wk : tensor<10x3xf32>, tensor<4x3xf32> -> tensor<10x4xf32>
  %r = nn.rotary %q, %t : tensor<10x8xf32>, tensor<5x2xf32>
  %a = nn.attention %r, %k, %k, %mask heads 4 causal window 3 : tensor<10x8xf32>, tensor<10x4xf32>, tensor<2x5xi32>
  %g = nn.gated_activation silu %q, %a : tensor<10x8xf32>
  %loss = nn.cross_entropy %g, %labels, %s : tensor<10x8xf32>, tensor<10xi32>
  return %loss : tensor<f32>
}
