// from=import
func.func @layer(%x: tensor<6x4xf32>, %mask: tensor<2x3xi32>, %w: tensor<4x4xf32>, %b: tensor<4xf32>, %up: tensor<5x4xf32>,
                 %down: tensor<4x5xf32>, %seed: i64) -> tensor<2x4xf32> {
  %a = nn.attention %x, %x, %x, %mask heads 2 : tensor<6x4xf32>, tensor<2x3xi32>
  %p = nn.linear %a, %w bias(%b : tensor<4xf32>) : tensor<6x4xf32>, tensor<4x4xf32> -> tensor<6x4xf32>
  %d = nn.dropout %p, %seed probability 0.1 site 3 length 3 : tensor<6x4xf32>
  %s = nn.add %d, %x : tensor<6x4xf32>
  %n = nn.layer_norm %s, %b, %b epsilon 1.0e-5 : tensor<6x4xf32>, tensor<4xf32>
  %h = nn.linear %n, %up : tensor<6x4xf32>, tensor<5x4xf32> -> tensor<6x5xf32>
  %g = nn.activation gelu %h : tensor<6x5xf32>
  %f = nn.linear %g, %down : tensor<6x5xf32>, tensor<4x5xf32> -> tensor<6x4xf32>
  %y = nn.add %f, %n : tensor<6x4xf32>
  %cls = nn.select_token %y index 1 : tensor<6x4xf32> -> tensor<2x4xf32>
  return %cls : tensor<2x4xf32>
}
func.func @last(%x: tensor<6x4xf32>, %mask: tensor<2x3xi32>, %b: tensor<4xf32>, %seed: i64) -> tensor<2x4xf32> {
  %d = nn.dropout %x, %seed probability 0.1 site 0 : tensor<6x4xf32>
  %n = nn.rms_norm %d, %b epsilon 1.0e-5 : tensor<6x4xf32>, tensor<4xf32>
  %g = nn.gated_activation silu %n, %n : tensor<6x4xf32>
  %last = nn.select_token %g last(%mask : tensor<2x3xi32>) : tensor<6x4xf32> -> tensor<2x4xf32>
  return %last : tensor<2x4xf32>
}
func.func @all(%x: tensor<6x4xf32>) -> (tensor<6x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>) {
  %r = nn.activation relu %x : tensor<6x4xf32>
  %first = nn.select_token %r index 0 : tensor<6x4xf32> -> tensor<2x4xf32>
  %g = nn.activation gelu %x : tensor<6x4xf32>
  %a = nn.select_token %g index 0 : tensor<6x4xf32> -> tensor<2x4xf32>
  %b = nn.select_token %g index 1 : tensor<6x4xf32> -> tensor<2x4xf32>
  return %r, %first, %a, %b : tensor<6x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>
}
func.func @itself(%x: tensor<6x4xf32>, %seed: i64) -> (tensor<2x6xf32>, tensor<3x4xf32>) {
  %y = nn.linear %x, %x : tensor<6x4xf32>, tensor<6x4xf32> -> tensor<6x6xf32>
  %one = nn.select_token %y index 1 : tensor<6x6xf32> -> tensor<2x6xf32>
  %d = nn.dropout %x, %seed probability 0.1 site 0 token 2 : tensor<6x4xf32>
  %two = nn.select_token %d index 0 : tensor<6x4xf32> -> tensor<3x4xf32>
  return %one, %two : tensor<2x6xf32>, tensor<3x4xf32>
}
func.func @blocks(%x: tensor<6x4xf32>, %first: tensor<2x3xi32>) -> tensor<2x4xf32> {
  %r = nn.activation relu %x : tensor<6x4xf32>
  cf.br ^bb1(%first : tensor<2x3xi32>)
^bb1(%mask: tensor<2x3xi32>):
  %last = nn.select_token %r last(%mask : tensor<2x3xi32>) : tensor<6x4xf32> -> tensor<2x4xf32>
  return %last : tensor<2x4xf32>
}
