// from=optimizer
func.func @apply(%lr: f32, %b1: f32, %b2: f32, %eps: f32, %decay: f32, %c1: f32, %c2: f32, %most: f32) -> tensor<f32> {
  %norm = pst.adamw size 40000 decayed 20000 (%lr, %b1, %b2, %eps, %decay, %c1, %c2, %most)
  return %norm : tensor<f32>
}
