// from=optimizer
func.func @embeddings(%i: tensor<2x3xi32>, %table: tensor<7x5xf32>, %g: tensor<6x5xf32>) {
  %e = nn.embedding %i, %table : tensor<2x3xi32>, tensor<7x5xf32> -> tensor<6x5xf32>
  %de = nn.embedding_backward %i, %g : tensor<2x3xi32>, tensor<6x5xf32> -> tensor<7x5xf32>
  %p = nn.add_positions %e, %table length 3 : tensor<6x5xf32>, tensor<7x5xf32>
  %q = nn.add_positions %e, %table ids(%i : tensor<2x3xi32>) first 2 length 3 : tensor<6x5xf32>, tensor<7x5xf32>
  %dq = nn.position_sum %g ids(%i : tensor<2x3xi32>) first 2 length 3 : tensor<6x5xf32> -> tensor<7x5xf32>
  %dp = nn.position_sum %g length 3 : tensor<6x5xf32> -> tensor<7x5xf32>
  return
}
func.func @linear_algebra(%x: tensor<5x3xf32>, %w: tensor<4x3xf32>, %b: tensor<4xf32>, %dy: tensor<5x4xf32>) {
  %y = nn.linear %x, %w bias(%b : tensor<4xf32>) : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  %z = nn.linear %x, %w : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  %dx = nn.matmul %dy, %w : tensor<5x4xf32>, tensor<4x3xf32> -> tensor<5x3xf32>
  %dw = nn.matmul %dy, %x {transpose_lhs} : tensor<5x4xf32>, tensor<5x3xf32> -> tensor<4x3xf32>
  %v = nn.matmul %x, %w {transpose_rhs} : tensor<5x3xf32>, tensor<4x3xf32> -> tensor<5x4xf32>
  %u = nn.matmul %w, %dy {transpose_lhs, transpose_rhs} : tensor<4x3xf32>, tensor<5x4xf32> -> tensor<3x5xf32>
  %db = nn.column_sum %dy : tensor<5x4xf32> -> tensor<4xf32>
  return
}
func.func @elementwise(%x: tensor<2x3xf32>, %dy: tensor<2x3xf32>, %v: tensor<7xf32>, %seed: i64) {
  %s = nn.add %x, %dy : tensor<2x3xf32>
  %t = nn.add %v, %v : tensor<7xf32>
  %a0 = nn.activation gelu %x : tensor<2x3xf32>
  %a1 = nn.activation gelu_tanh %x : tensor<2x3xf32>
  %a2 = nn.activation tanh %x : tensor<2x3xf32>
  %a3 = nn.activation relu %x : tensor<2x3xf32>
  %d = nn.activation_backward gelu %x, %dy : tensor<2x3xf32>
  %y = nn.dropout %x, %seed probability 0.1 site 3 : tensor<2x3xf32>
  return
}
func.func @normalisation_and_attention(%q: tensor<10x6xf32>, %mask: tensor<2x5xi32>, %scale: tensor<6xf32>, %seed: i64) {
  %n = nn.layer_norm %q, %scale, %scale epsilon 1.0e-12 : tensor<10x6xf32>, tensor<6xf32>
  %d:3 = nn.layer_norm_backward %q, %scale, %n epsilon 1.0e-5 : tensor<10x6xf32>, tensor<6xf32>
  %a = nn.attention %q, %q, %n, %mask heads 3 : tensor<10x6xf32>, tensor<2x5xi32>
  %b = nn.attention %q, %q, %n, %mask heads 2 dropout %seed probability 0.5 site 7 : tensor<10x6xf32>, tensor<2x5xi32>
  %c = nn.attention %q, %q, %n, %mask heads 2 causal dropout %seed probability 0.5 site 7 : tensor<10x6xf32>, tensor<2x5xi32>
  %dc:3 = nn.attention_backward %q, %q, %n, %mask, %a heads 3 causal : tensor<10x6xf32>, tensor<2x5xi32>
  %da:3 = nn.attention_backward %q, %q, %n, %mask, %a heads 3 : tensor<10x6xf32>, tensor<2x5xi32>
  %db:3 = nn.attention_backward %q, %q, %n, %mask, %a heads 2 dropout %seed probability 0.5 site 7 : tensor<10x6xf32>, tensor<2x5xi32>
  return
}
func.func @heads_and_losses(%x: tensor<10x3xf32>, %labels: tensor<2xi32>, %scale: f32,
    %prediction: tensor<2x1xf32>, %targets: tensor<2xf32>, %dloss: tensor<f32>, %w: tensor<7x3xf32>, %shares: tensor<3xf32>, %answers: tensor<2x3xf32>, %tags: tensor<2x5xi32>) {
  %t = nn.select_token %x index 4 : tensor<10x3xf32> -> tensor<2x3xf32>
  %dt = nn.select_token_backward %t index 0 : tensor<2x3xf32> -> tensor<10x3xf32>
  %loss = nn.cross_entropy %t, %labels, %scale : tensor<2x3xf32>, tensor<2xi32>
  %d = nn.cross_entropy_backward %t, %labels, %scale, %dloss : tensor<2x3xf32>, tensor<2xi32>
  %weighted = nn.cross_entropy %t, %labels, %scale weights(%shares : tensor<3xf32>) smoothing %scale : tensor<2x3xf32>, tensor<2xi32>
  %dw0 = nn.cross_entropy_backward %t, %labels, %scale, %dloss weights(%shares : tensor<3xf32>) smoothing %scale : tensor<2x3xf32>, tensor<2xi32>
  %stream = nn.linear_cross_entropy %t, %w, %labels, %scale : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  %dx = nn.linear_cross_entropy_backward %t, %w, %labels, %scale, %dloss : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  %dy, %dw = nn.linear_cross_entropy_backward %t, %w, %labels, %scale, %dloss : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32> weight tensor<7x3xf32>
  %smoothed = nn.linear_cross_entropy %t, %w, %labels, %scale smoothing %scale : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  %dz = nn.linear_cross_entropy_backward %t, %w, %labels, %scale, %dloss smoothing %scale : tensor<2x3xf32>, tensor<7x3xf32>, tensor<2xi32>
  %error = nn.squared_error %prediction, %targets, %scale : tensor<2x1xf32>, tensor<2xf32>
  %de = nn.squared_error_backward %prediction, %targets, %scale, %dloss : tensor<2x1xf32>, tensor<2xf32>
  %tagged = nn.cross_entropy %x, %tags, %scale : tensor<10x3xf32>, tensor<2x5xi32>
  %dg = nn.cross_entropy_backward %x, %tags, %scale, %dloss : tensor<10x3xf32>, tensor<2x5xi32>
  %many = nn.binary_cross_entropy %t, %answers, %scale : tensor<2x3xf32>, tensor<2x3xf32>
  %dm = nn.binary_cross_entropy_backward %t, %answers, %scale, %dloss : tensor<2x3xf32>, tensor<2x3xf32>
  %far = nn.distillation_loss %t, %answers, %scale temperature %scale : tensor<2x3xf32>, tensor<2x3xf32>
  %dyes = nn.distillation_loss_backward %t, %answers, %scale, %dloss temperature %scale binary : tensor<2x3xf32>, tensor<2x3xf32>
  return
}
func.func @narrow(%x: tensor<10x3xbf16>, %w: tensor<7x3xf32>, %v: tensor<7x3xbf16>, %scale: tensor<3xf32>,
    %ids: tensor<2x5xi32>, %labels: tensor<2xi32>, %one: f32) {
  %e = nn.embedding %ids, %w : tensor<2x5xi32>, tensor<7x3xf32> -> tensor<10x3xbf16>
  %de = nn.embedding_backward %ids, %e : tensor<2x5xi32>, tensor<10x3xbf16> -> tensor<7x3xf32>
  %y = nn.linear %x, %v : tensor<10x3xbf16>, tensor<7x3xbf16> -> tensor<10x7xf32>
  %dw = nn.matmul %y, %x {transpose_lhs} : tensor<10x7xf32>, tensor<10x3xbf16> -> tensor<7x3xf32>
  %a = nn.add %x, %e : tensor<10x3xbf16>
  %dx, %dscale, %dshift = nn.layer_norm_backward %x, %scale, %a epsilon 1.0e-12 : tensor<10x3xbf16>, tensor<3xf32>
  %sum = nn.column_sum %a : tensor<10x3xbf16> -> tensor<3xf32>
  %t = nn.select_token %a index 0 : tensor<10x3xbf16> -> tensor<2x3xbf16>
  %loss = nn.linear_cross_entropy %t, %v, %labels, %one : tensor<2x3xbf16>, tensor<7x3xbf16>, tensor<2xi32>
  return
}
