// RUN: pst-opt %s --pst-store-weights="expand-bits=8 fast-gather" | FileCheck %s --check-prefixes=CHECK,FAST
// RUN: pst-opt %s --pst-store-weights="expand-bits=8" | FileCheck %s --check-prefixes=CHECK,SLOW
// RUN: pst-opt %s --pst-store-weights="expand-bits=8 type=int8" | FileCheck %s --check-prefix=BYTES
// RUN: pst-opt %s --pst-store-weights | FileCheck %s --check-prefix=NONE

// How a weight with zeros is held depends on the machine: columns are gathered,
// and where gathers take long a bit for each element is the faster one up to
// more zeros. In 8 bits nearly nothing is gained by few zeros, as dense
// products are of bytes by bytes too.

// FAST: pst.parameter @zeros80.pst_columns
// SLOW: pst.parameter @zeros80.pst_bits
// BYTES: pst.parameter @zeros80.pst_bits
// NONE: pst.parameter @zeros80.pst_columns
pst.parameter @zeros80 frozen init<file "zeros80"> {pst.kept = 66355 : i64} : tensor<576x576xbf16>
// CHECK: pst.parameter @zeros90.pst_columns
// BYTES: pst.parameter @zeros90.pst_bits
pst.parameter @zeros90 frozen init<file "zeros90"> {pst.kept = 33177 : i64} : tensor<576x576xbf16>
// BYTES: pst.parameter @zeros40.pst_scales
// BYTES-NOT: @zeros40.pst_bits
pst.parameter @zeros40 frozen init<file "zeros40"> {pst.kept = 199065 : i64} : tensor<576x576xbf16>

func.func @decode(%x: tensor<1x576xf32>) -> tensor<1x576xf32> {
  %0 = pst.load @zeros80 : tensor<576x576xbf16>
  %1 = nn.linear %x, %0 : tensor<1x576xf32>, tensor<576x576xbf16> -> tensor<1x576xf32>
  %2 = pst.load @zeros90 : tensor<576x576xbf16>
  %3 = nn.linear %1, %2 : tensor<1x576xf32>, tensor<576x576xbf16> -> tensor<1x576xf32>
  %4 = pst.load @zeros40 : tensor<576x576xbf16>
  %5 = nn.linear %3, %4 : tensor<1x576xf32>, tensor<576x576xbf16> -> tensor<1x576xf32>
  return %5 : tensor<1x576xf32>
}
