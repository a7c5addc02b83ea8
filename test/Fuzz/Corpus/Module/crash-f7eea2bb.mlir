// from=import
func.func @layer(%x: tensor<70x3xf32>, %s: tensor<3xf32>, %t: tensor<3xf32>) -> (tensor<70x3xf32>, tensor<3xf32>, tensor<3xf32>) {
  %y = nn.layer_norm %x, %s, %t epsilon 1.000000e-12 : tensor<70x3xf32>, tensor<3xf32>
  %dx, %ds, %dt = nn.layer_norm_backward %x, %s, %y epsilon 1.000000e-12 : tensor<70x3xf32>, tensor<3xf32>
  return %dx, %ds, %dt : tensor<70x3xf32>, tensor<3xf32>, tensor<3xf32>
}
