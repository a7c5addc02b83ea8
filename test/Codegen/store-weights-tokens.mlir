// RUN: pst-opt %s --split-input-file --pst-store-weights="storage-tokens=2" | FileCheck %s --check-prefixes=CHECK,SAME
// RUN: pst-opt %s --split-input-file --pst-store-weights | FileCheck %s --check-prefixes=CHECK,OWN

// By how many tokens a storage is chosen may be told: then a program of 64 rows
// reckons as one of 2 does. A product of a row for each example has its own.

// CHECK: pst.parameter @w frozen init<file "w"> {pst.cost = {compressed = [[W:.*]], dense = [[DENSE:.*]]}, pst.kept
// CHECK: pst.parameter @head frozen init<file "head"> {pst.cost = {compressed = [[HEAD:.*]], dense = {{.*}}}, pst.kept
pst.parameter @w frozen init<file "w"> {pst.kept = 8000 : i64} : tensor<100x200xf32>
pst.parameter @head frozen init<file "head"> {pst.kept = 8000 : i64} : tensor<100x200xf32>
func.func @forward(%x: tensor<2x200xf32>, %first: tensor<1x200xf32>) -> (tensor<2x100xf32>, tensor<1x100xf32>) {
  %w = pst.load @w : tensor<100x200xf32>
  %y = nn.linear %x, %w : tensor<2x200xf32>, tensor<100x200xf32> -> tensor<2x100xf32>
  %head = pst.load @head : tensor<100x200xf32>
  %z = nn.linear %first, %head : tensor<1x200xf32>, tensor<100x200xf32> -> tensor<1x100xf32>
  return %y, %z : tensor<2x100xf32>, tensor<1x100xf32>
}

// -----

// SAME: pst.parameter @w frozen init<file "w"> {pst.cost = {compressed = [[W]], dense = [[DENSE]]}, pst.kept
// OWN-NOT: compressed = [[W]], dense = [[DENSE]]}
// CHECK: pst.parameter @head frozen init<file "head"> {pst.cost = {compressed = [[HEAD]], dense
pst.parameter @w frozen init<file "w"> {pst.kept = 8000 : i64} : tensor<100x200xf32>
pst.parameter @head frozen init<file "head"> {pst.kept = 8000 : i64} : tensor<100x200xf32>
func.func @forward(%x: tensor<64x200xf32>, %first: tensor<1x200xf32>) -> (tensor<64x100xf32>, tensor<1x100xf32>) {
  %w = pst.load @w : tensor<100x200xf32>
  %y = nn.linear %x, %w : tensor<64x200xf32>, tensor<100x200xf32> -> tensor<64x100xf32>
  %head = pst.load @head : tensor<100x200xf32>
  %z = nn.linear %first, %head : tensor<1x200xf32>, tensor<100x200xf32> -> tensor<1x100xf32>
  return %y, %z : tensor<64x100xf32>, tensor<1x100xf32>
}
