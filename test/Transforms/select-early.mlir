// RUN: pst-opt %s --pst-select-early --split-input-file | FileCheck %s

// Of the residual stream behind the last attention one row of each sequence is
// computed; what the attention reads, and what else is read of it, is not.

// CHECK-LABEL: func.func @layer(
// CHECK-SAME:  %[[X:[a-z0-9]*]]: tensor<6x4xf32>
// CHECK:       %[[A:.*]] = nn.attention
// CHECK:       %[[AS:.*]] = nn.select_token %[[A]] index 1 : tensor<6x4xf32> -> tensor<2x4xf32>
// CHECK:       %[[P:.*]] = nn.linear %[[AS]], %{{.*}} bias(%{{.*}}) : tensor<2x4xf32>, tensor<4x4xf32> -> tensor<2x4xf32>
// CHECK:       %[[D:.*]] = nn.dropout %[[P]], %{{.*}} probability 1.000000e-01 site 3 token 1 : tensor<2x4xf32>
// CHECK:       %[[XS:.*]] = nn.select_token %[[X]] index 1 : tensor<6x4xf32> -> tensor<2x4xf32>
// CHECK:       %[[S:.*]] = nn.add %[[D]], %[[XS]] : tensor<2x4xf32>
// CHECK:       %[[N:.*]] = nn.layer_norm %[[S]],
// CHECK:       %[[H:.*]] = nn.linear %[[N]], %{{.*}} : tensor<2x4xf32>, tensor<5x4xf32> -> tensor<2x5xf32>
// CHECK:       %[[G:.*]] = nn.activation gelu %[[H]] : tensor<2x5xf32>
// CHECK:       %[[F:.*]] = nn.linear %[[G]], %{{.*}} : tensor<2x5xf32>, tensor<4x5xf32> -> tensor<2x4xf32>
// CHECK:       %[[Y:.*]] = nn.add %[[F]], %[[N]] : tensor<2x4xf32>
// CHECK-NOT:   select_token
// CHECK:       return %[[Y]]
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

// -----

// The last token of each: a mask says which, and dropout cannot follow it.

// CHECK-LABEL: func.func @last(
// CHECK:       %[[D:.*]] = nn.dropout %{{.*}} site 0 : tensor<6x4xf32>
// CHECK:       %[[S:.*]] = nn.select_token %[[D]] last(%{{.*}} : tensor<2x3xi32>)
// CHECK:       %[[N:.*]] = nn.rms_norm %[[S]],
// CHECK:       %[[G:.*]] = nn.gated_activation silu %[[N]], %[[N]] : tensor<2x4xf32>
// CHECK:       return %[[G]]
func.func @last(%x: tensor<6x4xf32>, %mask: tensor<2x3xi32>, %b: tensor<4xf32>, %seed: i64) -> tensor<2x4xf32> {
  %d = nn.dropout %x, %seed probability 0.1 site 0 : tensor<6x4xf32>
  %n = nn.rms_norm %d, %b epsilon 1.0e-5 : tensor<6x4xf32>, tensor<4xf32>
  %g = nn.gated_activation silu %n, %n : tensor<6x4xf32>
  %last = nn.select_token %g last(%mask : tensor<2x3xi32>) : tensor<6x4xf32> -> tensor<2x4xf32>
  return %last : tensor<2x4xf32>
}

// -----

// Who reads all rows, needs all; and other tokens are others.

// CHECK-LABEL: func.func @all(
// CHECK:       nn.activation relu %{{.*}} : tensor<6x4xf32>
// CHECK:       nn.select_token
// CHECK:       nn.activation gelu %{{.*}} : tensor<6x4xf32>
// CHECK:       nn.select_token %{{.*}} index 0
// CHECK:       nn.select_token %{{.*}} index 1
func.func @all(%x: tensor<6x4xf32>) -> (tensor<6x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>) {
  %r = nn.activation relu %x : tensor<6x4xf32>
  %first = nn.select_token %r index 0 : tensor<6x4xf32> -> tensor<2x4xf32>
  %g = nn.activation gelu %x : tensor<6x4xf32>
  %a = nn.select_token %g index 0 : tensor<6x4xf32> -> tensor<2x4xf32>
  %b = nn.select_token %g index 1 : tensor<6x4xf32> -> tensor<2x4xf32>
  return %r, %first, %a, %b : tensor<6x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>
}

// -----

// A matrix that is a weight, too, is read whole as such; and a dropout stays
// where it counts positions otherwise: of tokens, and of other sequences.

// CHECK-LABEL: func.func @itself(
// CHECK-SAME:  %[[X:[a-z0-9]*]]: tensor<6x4xf32>
// CHECK:       %[[S:.*]] = nn.select_token %[[X]] index 1 : tensor<6x4xf32> -> tensor<2x4xf32>
// CHECK:       nn.linear %[[S]], %[[X]] : tensor<2x4xf32>, tensor<6x4xf32> -> tensor<2x6xf32>
// CHECK:       %[[D:.*]] = nn.dropout %{{.*}} token 2 : tensor<6x4xf32>
// CHECK:       nn.select_token %[[D]] index 0 : tensor<6x4xf32> -> tensor<3x4xf32>
// CHECK:       %[[E:.*]] = nn.dropout %{{.*}} length 3 : tensor<6x4xf32>
// CHECK:       nn.select_token %[[E]] index 1 : tensor<6x4xf32> -> tensor<3x4xf32>
func.func @itself(%x: tensor<6x4xf32>, %seed: i64) -> (tensor<2x6xf32>, tensor<3x4xf32>, tensor<3x4xf32>) {
  %y = nn.linear %x, %x : tensor<6x4xf32>, tensor<6x4xf32> -> tensor<6x6xf32>
  %one = nn.select_token %y index 1 : tensor<6x6xf32> -> tensor<2x6xf32>
  %d = nn.dropout %x, %seed probability 0.1 site 0 token 2 : tensor<6x4xf32>
  %two = nn.select_token %d index 0 : tensor<6x4xf32> -> tensor<3x4xf32>
  %e = nn.dropout %x, %seed probability 0.1 site 0 length 3 : tensor<6x4xf32>
  %three = nn.select_token %e index 1 : tensor<6x4xf32> -> tensor<3x4xf32>
  return %one, %two, %three : tensor<2x6xf32>, tensor<3x4xf32>, tensor<3x4xf32>
}

// -----

// The mask of another block is not there yet.

// CHECK-LABEL: func.func @blocks(
// CHECK:       nn.activation relu %{{.*}} : tensor<6x4xf32>
// CHECK:     ^bb1(
// CHECK:       nn.select_token
func.func @blocks(%x: tensor<6x4xf32>, %first: tensor<2x3xi32>) -> tensor<2x4xf32> {
  %r = nn.activation relu %x : tensor<6x4xf32>
  cf.br ^bb1(%first : tensor<2x3xi32>)
^bb1(%mask: tensor<2x3xi32>):
  %last = nn.select_token %r last(%mask : tensor<2x3xi32>) : tensor<6x4xf32> -> tensor<2x4xf32>
  return %last : tensor<2x4xf32>
}
