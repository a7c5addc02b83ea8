// RUN: pst-opt %s | pst-opt | FileCheck %s
// RUN: pst-opt --mlir-print-op-generic %s | pst-opt | FileCheck %s

// Every op survives printing and parsing.

// CHECK-LABEL: func.func @embeddings(
func.func @embeddings(%i: tensor<2x3xi32>, %table: tensor<7x5xf32>, %g: tensor<6x5xf32>) {
  // CHECK: nn.embedding %{{.*}}, %{{.*}} : tensor<2x3xi32>, tensor<7x5xf32> -> tensor<6x5xf32>
  %e = nn.embedding %i, %table : tensor<2x3xi32>, tensor<7x5xf32> -> tensor<6x5xf32>
  // CHECK: nn.embedding_backward %{{.*}}, %{{.*}} : tensor<2x3xi32>, tensor<6x5xf32> -> tensor<7x5xf32>
  %de = nn.embedding_backward %i, %g : tensor<2x3xi32>, tensor<6x5xf32> -> tensor<7x5xf32>
  // CHECK: nn.add_positions %{{.*}}, %{{.*}} length 3 : tensor<6x5xf32>, tensor<7x5xf32>
  %p = nn.add_positions %e, %table length 3 : tensor<6x5xf32>, tensor<7x5xf32>
  // CHECK: nn.add_positions %{{.*}}, %{{.*}} ids(%{{.*}} : tensor<2x3xi32>) first 2 length 3 : tensor<6x5xf32>, tensor<7x5xf32>
  %q = nn.add_positions %e, %table ids(%i : tensor<2x3xi32>) first 2 length 3 : tensor<6x5xf32>, tensor<7x5xf32>
  // CHECK: nn.position_sum %{{.*}} ids(%{{.*}} : tensor<2x3xi32>) first 2 length 3 : tensor<6x5xf32> -> tensor<7x5xf32>
  %dq = nn.position_sum %g ids(%i : tensor<2x3xi32>) first 2 length 3 : tensor<6x5xf32> -> tensor<7x5xf32>
  // CHECK: nn.position_sum %{{.*}} length 3 : tensor<6x5xf32> -> tensor<7x5xf32>
  %dp = nn.position_sum %g length 3 : tensor<6x5xf32> -> tensor<7x5xf32>
  return
}

// CHECK-LABEL: func.func @linear_algebra(
func.func @linear_algebra(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %b: tensor<4xf32>, %dy: tensor<5x4xf32>) {
  // CHECK: nn.linear %{{.*}}, %{{.*}} bias(%{{.*}} : tensor<4xf32>) : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  %y = nn.linear %x, %w bias(%b : tensor<4xf32>) : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  // CHECK: nn.linear %{{.*}}, %{{[a-z0-9]*}} : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  %z = nn.linear %x, %w : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  // CHECK: nn.matmul %{{.*}}, %{{.*}} : tensor<5x4xf32>, tensor<4x3xf32> -> tensor<5x3xf32>
  %dx = nn.matmul %dy, %w : tensor<5x4xf32>, tensor<4x3xf32> -> tensor<5x3xf32>
  // CHECK: nn.matmul %{{.*}}, %{{.*}} {transpose_lhs} : tensor<5x4xf32>, tensor<5x3xf32> -> tensor<4x3xf32>
  %dw = nn.matmul %dy, %x {transpose_lhs} : tensor<5x4xf32>, tensor<5x3xf32> -> tensor<4x3xf32>
  // CHECK: nn.matmul %{{.*}}, %{{.*}} {transpose_rhs} : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  %v = nn.matmul %x, %w {transpose_rhs} : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  // CHECK: nn.matmul %{{.*}}, %{{.*}} {transpose_lhs, transpose_rhs} : tensor<4x3xf32>, tensor<5x4xf32> -> tensor<3x5xf32>
  %u = nn.matmul %w, %dy {transpose_lhs, transpose_rhs} : tensor<4x3xf32>, tensor<5x4xf32> -> tensor<3x5xf32>
  // CHECK: nn.column_sum %{{.*}} : tensor<5x4xf32> -> tensor<4xf32>
  %db = nn.column_sum %dy : tensor<5x4xf32> -> tensor<4xf32>
  // CHECK: nn.column_sum %{{.*}} squared : tensor<5x4xf32> -> tensor<4xf32>
  %squares = nn.column_sum %dy squared : tensor<5x4xf32> -> tensor<4xf32>
  return
}

// CHECK-LABEL: func.func @elementwise(
func.func @elementwise(%x: tensor<2x3xf32>, %dy: tensor<2x3xf32>, %v: tensor<7xf32>, %seed: i64) {
  // CHECK: nn.add %{{.*}}, %{{.*}} : tensor<2x3xf32>
  %s = nn.add %x, %dy : tensor<2x3xf32>
  // CHECK: nn.add %{{.*}}, %{{.*}} : tensor<7xf32>
  %t = nn.add %v, %v : tensor<7xf32>
  // CHECK: nn.activation gelu %{{.*}} : tensor<2x3xf32>
  %a0 = nn.activation gelu %x : tensor<2x3xf32>
  // CHECK: nn.activation gelu_tanh %{{.*}} : tensor<2x3xf32>
  %a1 = nn.activation gelu_tanh %x : tensor<2x3xf32>
  // CHECK: nn.activation tanh %{{.*}} : tensor<2x3xf32>
  %a2 = nn.activation tanh %x : tensor<2x3xf32>
  // CHECK: nn.activation relu %{{.*}} : tensor<2x3xf32>
  %a3 = nn.activation relu %x : tensor<2x3xf32>
  // CHECK: nn.activation_backward gelu %{{.*}}, %{{.*}} : tensor<2x3xf32>
  %d = nn.activation_backward gelu %x, %dy : tensor<2x3xf32>
  // CHECK: nn.dropout %{{.*}}, %{{.*}} probability 1.000000e-01 site 3 : tensor<2x3xf32>
  %y = nn.dropout %x, %seed probability 0.1 site 3 : tensor<2x3xf32>
  // CHECK: nn.dropout %{{.*}}, %{{.*}} probability 1.000000e-01 site 3 token 4 : tensor<2x3xf32>
  %token = nn.dropout %x, %seed probability 0.1 site 3 token 4 : tensor<2x3xf32>
  // CHECK: nn.dropout %{{.*}}, %{{.*}} probability 1.000000e-01 site 3 length 1 : tensor<2x3xf32>
  %positions = nn.dropout %x, %seed probability 0.1 site 3 length 1 : tensor<2x3xf32>
  return
}

// CHECK-LABEL: func.func @normalisation_and_attention(
func.func @normalisation_and_attention(%q: tensor<10x6xf32>, %mask: tensor<2x5xi32>, %scale: tensor<6xf32>, %seed: i64) {
  // CHECK: nn.layer_norm %{{.*}}, %{{.*}}, %{{.*}} epsilon 9.9{{.*}}E-13 : tensor<10x6xf32>, tensor<6xf32>
  %n = nn.layer_norm %q, %scale, %scale epsilon 1.0e-12 : tensor<10x6xf32>, tensor<6xf32>
  // CHECK: nn.layer_norm_backward %{{.*}}, %{{.*}}, %{{.*}} epsilon 1.000000e-05 : tensor<10x6xf32>, tensor<6xf32>
  %d:3 = nn.layer_norm_backward %q, %scale, %n epsilon 1.0e-5 : tensor<10x6xf32>, tensor<6xf32>
  // CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} heads 3 : tensor<10x6xf32>, tensor<2x5xi32>
  %a = nn.attention %q, %q, %n, %mask heads 3 : tensor<10x6xf32>, tensor<2x5xi32>
  // CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} heads 2 dropout %{{.*}} probability 5.000000e-01 site 7 : tensor<10x6xf32>, tensor<2x5xi32>
  %b = nn.attention %q, %q, %n, %mask heads 2 dropout %seed probability 0.5 site 7 : tensor<10x6xf32>, tensor<2x5xi32>
  // CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} heads 2 causal dropout %{{.*}} probability 5.000000e-01 site 7 : tensor<10x6xf32>, tensor<2x5xi32>
  %c = nn.attention %q, %q, %n, %mask heads 2 causal dropout %seed probability 0.5 site 7 : tensor<10x6xf32>, tensor<2x5xi32>
  // CHECK: nn.attention_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} heads 3 causal : tensor<10x6xf32>, tensor<2x5xi32>
  %dc:3 = nn.attention_backward %q, %q, %n, %mask, %a heads 3 causal : tensor<10x6xf32>, tensor<2x5xi32>
  // CHECK: nn.attention_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} heads 3 : tensor<10x6xf32>, tensor<2x5xi32>
  %da:3 = nn.attention_backward %q, %q, %n, %mask, %a heads 3 : tensor<10x6xf32>, tensor<2x5xi32>
  // CHECK: nn.attention_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} heads 2 dropout %{{.*}} probability 5.000000e-01 site 7 : tensor<10x6xf32>, tensor<2x5xi32>
  %db:3 = nn.attention_backward %q, %q, %n, %mask, %a heads 2 dropout %seed probability 0.5 site 7 : tensor<10x6xf32>, tensor<2x5xi32>
  return
}

// CHECK-LABEL: func.func @heads_and_losses(
func.func @heads_and_losses(%x: tensor<10x3xf32>, %labels: tensor<2xi32>, %scale: f32,
    %prediction: tensor<2x1xf32>, %targets: tensor<2xf32>, %dloss: tensor<f32>, %w: tensor<7x3xf32>, %shares: tensor<3xf32>, %answers: tensor<2x3xf32>, %tags: tensor<2x5xi32>,
    %bytes: tensor<7x3xi8>, %scales: tensor<7xf32>) {
  // CHECK: nn.select_token %{{.*}} index 4 : tensor<10x3xf32> -> tensor<2x3xf32>
  %t = nn.select_token %x index 4 : tensor<10x3xf32> -> tensor<2x3xf32>
  // CHECK: nn.select_token_backward %{{.*}} index 0 : tensor<2x3xf32> -> tensor<10x3xf32>
  %dt = nn.select_token_backward %t index 0 : tensor<2x3xf32> -> tensor<10x3xf32>
  // CHECK: nn.cross_entropy %{{.*}}, %{{.*}}, %{{.*}} : tensor<2x3xf32>, tensor<2xi32>
  %loss = nn.cross_entropy %t, %labels, %scale : tensor<2x3xf32>, tensor<2xi32>
  // CHECK: nn.cross_entropy_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<2x3xf32>, tensor<2xi32>
  %d = nn.cross_entropy_backward %t, %labels, %scale, %dloss : tensor<2x3xf32>, tensor<2xi32>
  // CHECK: nn.cross_entropy %{{.*}}, %{{.*}}, %{{.*}} weights(%{{.*}} : tensor<3xf32>) smoothing %{{.*}} : tensor<2x3xf32>, tensor<2xi32>
  %weighted = nn.cross_entropy %t, %labels, %scale weights(%shares : tensor<3xf32>) smoothing %scale : tensor<2x3xf32>, tensor<2xi32>
  // CHECK: nn.cross_entropy_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} weights(%{{.*}} : tensor<3xf32>) smoothing %{{.*}} : tensor<2x3xf32>, tensor<2xi32>
  %dw0 = nn.cross_entropy_backward %t, %labels, %scale, %dloss weights(%shares : tensor<3xf32>) smoothing %scale : tensor<2x3xf32>, tensor<2xi32>
  // CHECK: nn.linear_cross_entropy %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  %stream = nn.linear_cross_entropy %t, %w, %labels, %scale : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  // CHECK: nn.linear_cross_entropy_backward %{{.*}} : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  %dx = nn.linear_cross_entropy_backward %t, %w, %labels, %scale, %dloss : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  // CHECK: nn.linear_cross_entropy_backward %{{.*}} : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32> weight tensor<7x3xf32>
  %dy, %dw = nn.linear_cross_entropy_backward %t, %w, %labels, %scale, %dloss : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32> weight tensor<7x3xf32>
  // CHECK: nn.linear_cross_entropy %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} smoothing %{{.*}} : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  %smoothed = nn.linear_cross_entropy %t, %w, %labels, %scale smoothing %scale : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  // CHECK: nn.linear_cross_entropy %{{.*}} scales(%{{.*}} : tensor<7xf32>) smoothing %{{.*}} : tensor<2x3xf32>, tensor<7x3xi8>, tensor<2xi32>
  %both = nn.linear_cross_entropy %t, %bytes, %labels, %scale scales(%scales : tensor<7xf32>) smoothing %scale : tensor<2x3xf32>, tensor<7x3xi8>, tensor<2xi32>
  // CHECK: nn.linear_cross_entropy_backward %{{.*}} smoothing %{{.*}} : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32> weight tensor<7x3xf32>
  %dz, %dv = nn.linear_cross_entropy_backward %t, %w, %labels, %scale, %dloss smoothing %scale : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32> weight tensor<7x3xf32>
  // CHECK: nn.squared_error %{{.*}}, %{{.*}}, %{{.*}} : tensor<2x1xf32>, tensor<2xf32>
  %error = nn.squared_error %prediction, %targets, %scale : tensor<2x1xf32>, tensor<2xf32>
  // CHECK: nn.squared_error_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<2x1xf32>, tensor<2xf32>
  %de = nn.squared_error_backward %prediction, %targets, %scale, %dloss : tensor<2x1xf32>, tensor<2xf32>
  // CHECK: nn.cross_entropy %{{.*}}, %{{.*}}, %{{.*}} : tensor<10x3xf32>, tensor<2x5xi32>
  %tagged = nn.cross_entropy %x, %tags, %scale : tensor<10x3xf32>, tensor<2x5xi32>
  // CHECK: nn.cross_entropy_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<10x3xf32>, tensor<2x5xi32>
  %dg = nn.cross_entropy_backward %x, %tags, %scale, %dloss : tensor<10x3xf32>, tensor<2x5xi32>
  // CHECK: nn.binary_cross_entropy %{{.*}}, %{{.*}}, %{{.*}} : tensor<2x3xf32>, tensor<2x3xf32>
  %many = nn.binary_cross_entropy %t, %answers, %scale : tensor<2x3xf32>, tensor<2x3xf32>
  // CHECK: nn.binary_cross_entropy_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<2x3xf32>, tensor<2x3xf32>
  %dm = nn.binary_cross_entropy_backward %t, %answers, %scale, %dloss : tensor<2x3xf32>, tensor<2x3xf32>
  // CHECK: nn.binary_cross_entropy %{{.*}}, %{{.*}}, %{{.*}} weights(%{{.*}} : tensor<3xf32>) : tensor<2x3xf32>, tensor<2x3xf32>
  %weighed = nn.binary_cross_entropy %t, %answers, %scale weights(%shares : tensor<3xf32>) : tensor<2x3xf32>, tensor<2x3xf32>
  // CHECK: nn.binary_cross_entropy_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} weights(%{{.*}} : tensor<3xf32>) : tensor<2x3xf32>, tensor<2x3xf32>
  %dweighed = nn.binary_cross_entropy_backward %t, %answers, %scale, %dloss weights(%shares : tensor<3xf32>) : tensor<2x3xf32>, tensor<2x3xf32>
  // CHECK: nn.distillation_loss %{{.*}}, %{{.*}}, %{{.*}} temperature %{{.*}} : tensor<2x3xf32>, tensor<2x3xf32>
  %far = nn.distillation_loss %t, %answers, %scale temperature %scale : tensor<2x3xf32>, tensor<2x3xf32>
  // CHECK: nn.distillation_loss_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} temperature %{{.*}} : tensor<2x3xf32>, tensor<2x3xf32>
  %dfar = nn.distillation_loss_backward %t, %answers, %scale, %dloss temperature %scale : tensor<2x3xf32>, tensor<2x3xf32>
  // CHECK: nn.distillation_loss %{{.*}}, %{{.*}}, %{{.*}} temperature %{{.*}} binary : tensor<2x3xf32>, tensor<2x3xf32>
  %yes = nn.distillation_loss %t, %answers, %scale temperature %scale binary : tensor<2x3xf32>, tensor<2x3xf32>
  // CHECK: nn.distillation_loss_backward %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} temperature %{{.*}} binary : tensor<2x3xf32>, tensor<2x3xf32>
  %dyes = nn.distillation_loss_backward %t, %answers, %scale, %dloss temperature %scale binary : tensor<2x3xf32>, tensor<2x3xf32>
  return
}

// Activations may be bf16; a product of bf16 may be f32.

// CHECK-LABEL: func.func @narrow(
func.func @narrow(%x: tensor<10x3xbf16>, %w: tensor<7x3xf32>, %v: tensor<7x3xbf16>, %scale: tensor<3xf32>,
    %ids: tensor<2x5xi32>, %labels: tensor<2xi32>, %one: f32) {
  // CHECK: nn.embedding %{{.*}}, %{{.*}} : tensor<2x5xi32>, tensor<7x3xf32> -> tensor<10x3xbf16>
  %e = nn.embedding %ids, %w : tensor<2x5xi32>, tensor<7x3xf32> -> tensor<10x3xbf16>
  // CHECK: nn.embedding_backward %{{.*}}, %{{.*}} : tensor<2x5xi32>, tensor<10x3xbf16> -> tensor<7x3xf32>
  %de = nn.embedding_backward %ids, %e : tensor<2x5xi32>, tensor<10x3xbf16> -> tensor<7x3xf32>
  // CHECK: nn.linear %{{.*}}, %{{.*}} : tensor<10x3xbf16>, tensor<7x3xbf16> -> tensor<10x7xf32>
  %y = nn.linear %x, %v : tensor<10x3xbf16>, tensor<7x3xbf16> -> tensor<10x7xf32>
  // CHECK: nn.matmul %{{.*}}, %{{.*}} {transpose_lhs} : tensor<10x7xf32>, tensor<10x3xbf16> -> tensor<7x3xf32>
  %dw = nn.matmul %y, %x {transpose_lhs} : tensor<10x7xf32>, tensor<10x3xbf16> -> tensor<7x3xf32>
  // CHECK: nn.add %{{.*}}, %{{.*}} : tensor<10x3xbf16>
  %a = nn.add %x, %e : tensor<10x3xbf16>
  // CHECK: nn.layer_norm_backward {{.*}} : tensor<10x3xbf16>, tensor<3xf32>
  %dx, %dscale, %dshift = nn.layer_norm_backward %x, %scale, %a epsilon 1.0e-12 : tensor<10x3xbf16>, tensor<3xf32>
  // CHECK: nn.column_sum %{{.*}} : tensor<10x3xbf16> -> tensor<3xf32>
  %sum = nn.column_sum %a : tensor<10x3xbf16> -> tensor<3xf32>
  // CHECK: nn.select_token %{{.*}} index 0 : tensor<10x3xbf16> -> tensor<2x3xbf16>
  %t = nn.select_token %a index 0 : tensor<10x3xbf16> -> tensor<2x3xbf16>
  // CHECK: nn.linear_cross_entropy %{{.*}} : tensor<2x3xbf16>, tensor<7x3xbf16>, tensor<2xi32>
  %loss = nn.linear_cross_entropy %t, %v, %labels, %one : tensor<2x3xbf16>, tensor<7x3xbf16>, tensor<2xi32>
  return
}
