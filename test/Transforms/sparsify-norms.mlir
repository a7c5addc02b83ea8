// RUN: pst-opt %s --pst-sparsify="method=pst_wanda calibration_file=norms" | FileCheck %s --check-prefixes=CHECK,COLUMN
// RUN: sed 's/%y = nn.linear %x, %a/%y = nn.linear %x, %a transposed/' %s | pst-opt --pst-sparsify="method=pst_wanda calibration_file=norms" | FileCheck %s --check-prefixes=CHECK,ROW

// What was measured of each input of a layer lies along its weight's columns or,
// of weights that are inputs x outputs, along its rows.

// CHECK: pst.criterion @pst_wanda(%{{.*}}: dense, {{.*}}: row, %{{[a-z0-9]+}}: col,
// COLUMN-SAME: %[[NORM:[a-z0-9]+]]: col) {
// ROW-SAME:    %[[NORM:[a-z0-9]+]]: row) {
// CHECK: %[[MAGNITUDE:[0-9]+]] = math.absf
// CHECK: arith.mulf %[[MAGNITUDE]], %[[NORM]]
// CHECK:  pst.parameter @a.pst_C trainable init<zeros> {{.*}} : tensor<3xf32>
// CHECK-NEXT: pst.parameter @a.pst_norm frozen init<file "a.relative" from "{{.*}}norms"> : tensor<3xf32>
pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<3x3xf32>
func.func @forward(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %a = pst.load @a : tensor<3x3xf32>
  %y = nn.linear %x, %a : tensor<2x3xf32>, tensor<3x3xf32> -> tensor<2x3xf32>
  return %y : tensor<2x3xf32>
}
