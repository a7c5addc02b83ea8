// from=optimizer
pst.parameter @many frozen init<file "many"> {pst.kept = 700 : i64} : tensor<100x200xf32>
pst.parameter @fewer frozen init<file "fewer"> {pst.kept = 600 : i64} : tensor<100x200xf32>
pst.parameter @none frozen init<file "none"> {pst.kept = 0 : i64} : tensor<100x200xf32>
pst.parameter @nearly frozen init<file "nearly"> {pst.kept = 19000 : i64} : tensor<100x200xf32>
pst.parameter @turned frozen init<file "turned"> {pst.kept = 700 : i64} : tensor<200x100xf32>
pst.parameter @whole frozen init<file "whole"> : tensor<100x200xf32>
pst.parameter @trained trainable init<file "trained"> {pst.kept = 700 : i64} : tensor<100x200xf32>
pst.parameter @shared frozen init<file "shared"> {pst.kept = 700 : i64} : tensor<100x200xf32>
func.func @forward(%x: tensor<128x200xf32>, %bias: tensor<100xf32>) -> (tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<100x200xf32>) {
  %many = pst.load @many : tensor<100x200xf32>
  %0 = nn.linear %x, %many bias(%bias : tensor<100xf32>) : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %fewer = pst.load @fewer : tensor<100x200xf32>
  %1 = nn.linear %x, %fewer : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %none = pst.load @none : tensor<100x200xf32>
  %2 = nn.linear %x, %none : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %nearly = pst.load @nearly : tensor<100x200xf32>
  %3 = nn.linear %x, %nearly : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %turned = pst.load @turned : tensor<200x100xf32>
  %4 = nn.linear %x, %turned transposed : tensor<128x200xf32>, tensor<200x100xf32> -> tensor<128x100xf32>
  %whole = pst.load @whole : tensor<100x200xf32>
  %5 = nn.linear %x, %whole : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %trained = pst.load @trained : tensor<100x200xf32>
  %6 = nn.linear %x, %trained : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  %shared = pst.load @shared : tensor<100x200xf32>
  %7 = nn.linear %x, %shared : tensor<128x200xf32>, tensor<100x200xf32> -> tensor<128x100xf32>
  return %0, %1, %2, %3, %4, %5, %6, %7, %shared : tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<128x100xf32>, tensor<100x200xf32>
}
