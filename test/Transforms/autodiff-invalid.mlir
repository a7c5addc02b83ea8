// RUN: pst-opt %s --pst-autodiff --split-input-file --verify-diagnostics

// The first result is what gradients are taken of.
pst.parameter @w trainable init<zeros> : tensor<4x3xf32>
// expected-error@+1 {{'func.func' op must be one block whose first result is the loss, of type 'tensor<f32>'}}
func.func @forward(%x: tensor<2x3xf32>) -> tensor<2x4xf32> {
  %w = pst.load @w : tensor<4x3xf32>
  %y = nn.linear %x, %w : tensor<2x3xf32>, tensor<4x3xf32> -> tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}

// -----

// A trainable parameter that does not reach the loss.
pst.parameter @w trainable init<zeros> : tensor<4x3xf32>
// expected-error@+1 {{'func.func' op has nothing to train: no trainable parameter reaches the loss}}
func.func @forward(%y: tensor<2x4xf32>, %labels: tensor<2xi32>, %scale: f32) -> tensor<f32> {
  %loss = nn.cross_entropy %y, %labels, %scale : tensor<2x4xf32>, tensor<2xi32>
  return %loss : tensor<f32>
}

// -----

// An op without a backward.
pst.parameter @w trainable init<zeros> : tensor<2x4xf32>
func.func @forward(%labels: tensor<2xi32>, %scale: f32) -> tensor<f32> {
  %w = pst.load @w : tensor<2x4xf32>
  // expected-error@+1 {{'math.exp' op stands between a trainable parameter and the loss, but has no backward}}
  %y = math.exp %w : tensor<2x4xf32>
  %loss = nn.cross_entropy %y, %labels, %scale : tensor<2x4xf32>, tensor<2xi32>
  return %loss : tensor<f32>
}
