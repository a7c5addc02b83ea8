// RUN: pst-opt %s --pst-mixed-precision=type=bf16 | FileCheck %s
// RUN: pst-opt %s --pst-mixed-precision=type=bf16 --pst-autodiff | FileCheck %s --check-prefix=STEP
// RUN: pst-opt %s --pst-mixed-precision=type=f32 | FileCheck %s --check-prefix=SAME

// Activations are bf16, and so are their gradients; parameters and theirs, the
// logits and the losses stay f32.

// SAME-NOT: bf16

pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}
pst.parameter @words frozen init<file "words"> : tensor<9x3xf32>
pst.parameter @scale trainable init<constant 1.0> : tensor<3xf32>
pst.parameter @w frozen init<file "w"> : tensor<4x3xf32>
pst.parameter @u trainable init<zeros> : tensor<4x2xf32>
pst.parameter @v trainable init<normal 1.0> : tensor<2x3xf32>
pst.parameter @head trainable init<normal 1.0> : tensor<2x4xf32>

// CHECK-LABEL: func.func @forward
// CHECK: %[[WORDS:.*]] = pst.load @words : tensor<9x3xf32>
// CHECK: nn.embedding %{{.*}}, %[[WORDS]] : tensor<2x5xi32>, tensor<9x3xf32> -> tensor<10x3xbf16>
// CHECK: nn.layer_norm {{.*}} : tensor<10x3xbf16>, tensor<3xf32>
// CHECK: pst.masked_matmul {{.*}} : tensor<10x3xbf16>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<10x4xbf16>
// CHECK: nn.activation gelu {{.*}} : tensor<10x4xbf16>
// CHECK: nn.select_token {{.*}} : tensor<10x4xbf16> -> tensor<2x4xbf16>
// CHECK: %[[NARROW:.*]] = arith.truncf %{{.*}} : tensor<2x4xf32> to tensor<2x4xbf16>
// CHECK: %[[SUM:.*]] = nn.add %{{.*}}, %[[NARROW]] : tensor<2x4xbf16>
// CHECK: %[[LOGITS:.*]] = nn.linear %[[SUM]], {{.*}} : tensor<2x4xbf16>, tensor<2x4xf32> -> tensor<2x2xf32>
// CHECK: nn.cross_entropy %[[LOGITS]], {{.*}} : tensor<2x2xf32>
// CHECK: nn.add {{.*}} : tensor<f32>
// CHECK: %[[WIDE:.*]] = arith.extf %[[SUM]] : tensor<2x4xbf16> to tensor<2x4xf32>
// CHECK: return %{{.*}}, %[[LOGITS]], %[[WIDE]] : tensor<f32>, tensor<2x2xf32>, tensor<2x4xf32>

// STEP-LABEL: func.func @forward_backward
// STEP: nn.cross_entropy_backward {{.*}} : tensor<2x2xf32>
// STEP: nn.matmul {{.*}} : tensor<2x2xf32>, tensor<2x4xf32> -> tensor<2x4xbf16>
// STEP: nn.matmul {{.*}} {transpose_lhs} : tensor<2x2xf32>, tensor<2x4xbf16> -> tensor<2x4xf32>
// STEP: nn.select_token_backward {{.*}} : tensor<2x4xbf16> -> tensor<10x4xbf16>
// STEP: nn.activation_backward gelu {{.*}} : tensor<10x4xbf16>
// STEP: pst.masked_matmul {{.*}} transposed {{.*}} -> tensor<10x3xbf16>
// STEP: pst.lowrank_accumulate {{.*}} : tensor<10x4xbf16>, tensor<10x3xbf16>, {{.*}} -> tensor<4x2xf32>, tensor<2x3xf32>
// STEP: nn.layer_norm_backward {{.*}} : tensor<10x3xbf16>, tensor<3xf32>
// STEP: pst.accumulate {{.*}}, @scale : tensor<3xf32>
func.func @forward(%ids: tensor<2x5xi32>, %extra: tensor<2x4xf32>, %labels: tensor<2xi32>, %teacher: tensor<2x2xf32>, %s: f32)
    -> (tensor<f32>, tensor<2x2xf32>, tensor<2x4xf32>) {
  %words = pst.load @words : tensor<9x3xf32>
  %scale = pst.load @scale : tensor<3xf32>
  %w = pst.load @w : tensor<4x3xf32>
  %u = pst.load @u : tensor<4x2xf32>
  %v = pst.load @v : tensor<2x3xf32>
  %head = pst.load @head : tensor<2x4xf32>
  %x = nn.embedding %ids, %words : tensor<2x5xi32>, tensor<9x3xf32> -> tensor<10x3xf32>
  %n = nn.layer_norm %x, %scale, %scale epsilon 1.0e-12 : tensor<10x3xf32>, tensor<3xf32>
  %y = pst.masked_matmul %n, @lora(%w, %u, %v) : tensor<10x3xf32>, (tensor<4x3xf32>, tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<10x4xf32>
  %g = nn.activation gelu %y : tensor<10x4xf32>
  %c = nn.select_token %g index 0 : tensor<10x4xf32> -> tensor<2x4xf32>
  %sum = nn.add %c, %extra : tensor<2x4xf32>
  %logits = nn.linear %sum, %head : tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x2xf32>
  %loss = nn.cross_entropy %logits, %labels, %s : tensor<2x2xf32>, tensor<2xi32>
  %far = nn.distillation_loss %logits, %teacher, %s temperature %s : tensor<2x2xf32>, tensor<2x2xf32>
  %both = nn.add %loss, %far : tensor<f32>
  return %both, %logits, %sum : tensor<f32>, tensor<2x2xf32>, tensor<2x4xf32>
}
