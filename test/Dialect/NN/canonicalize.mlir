// RUN: pst-opt %s --canonicalize --cse --split-input-file | FileCheck %s

// A dropout that drops nothing is its operand.

// CHECK-LABEL: func.func @never_drops(
// CHECK-SAME: %[[X:.*]]: tensor<2x3xf32>
func.func @never_drops(%x: tensor<2x3xf32>, %seed: i64) -> tensor<2x3xf32> {
  // CHECK-NEXT: return %[[X]]
  %y = nn.dropout %x, %seed probability 0.0 site 1 : tensor<2x3xf32>
  return %y : tensor<2x3xf32>
}

// -----

// Dropouts of one mask are one op; those of two sites are not.

// CHECK-LABEL: func.func @two_sites(
func.func @two_sites(%x: tensor<2x3xf32>, %seed: i64)
    -> (tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>) {
  // CHECK: %[[A:.*]] = nn.dropout {{.*}} site 1
  // CHECK: %[[B:.*]] = nn.dropout {{.*}} site 2
  // CHECK: return %[[A]], %[[B]], %[[A]]
  %a = nn.dropout %x, %seed probability 0.5 site 1 : tensor<2x3xf32>
  %b = nn.dropout %x, %seed probability 0.5 site 2 : tensor<2x3xf32>
  %c = nn.dropout %x, %seed probability 0.5 site 1 : tensor<2x3xf32>
  return %a, %b, %c : tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>
}
