func.func @apply(%lr: f32, %b1: f32, %b2: f32, %f32: f32, %decay: f32, %index: f32, %c2: f32, %most: f32) -> tensor<f32> {
  %norm = pst.adamw size 9223372036854775807 decayed 9223372036854775807 (%lr, %b1, %b2, %f32, %decay, %index, %c2, %most)
  return %norm : tensor<f32>
// autodiff=optimizer
}
