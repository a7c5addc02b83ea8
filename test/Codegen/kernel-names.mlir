// RUN: pst-opt %s --pst-emit-cpu-kernels | FileCheck %s

// Kernels that differ in anything have different names: in the form of a
// product (an adaptive one has a compressed part, with less room than the
// compressed one), in the type of any factor, in what no reader sees.

pst.criterion @sum(%w: dense, %v: dense) {
  %s = arith.addf %w, %v : f32
  pst.yield weight %s score %s
}
pst.criterion @three(%w: dense, %v: dense, %u: dense) {
  %s = arith.addf %w, %v : f32
  %t = arith.addf %s, %u : f32
  pst.yield weight %t
}
pst.criterion @map(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}

// CHECK-LABEL: func.func @forms
// CHECK: pst.launch @[[COMPRESSED:masked_matmul_256x64_96x64_f32_i64_256x96_map_compressed]] ins
// CHECK: pst.launch @[[ADAPTIVE:masked_matmul_256x64_96x64_f32_i64_256x96_map_adaptive]] ins
func.func @forms(%x: tensor<256x64xf32>, %w: tensor<96x64xf32>, %tau: tensor<f32>, %cut: tensor<i64>, %pruned: tensor<i64>)
    -> (tensor<256x96xf32>, tensor<256x96xf32>) {
  %a = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) as compressed : tensor<256x64xf32>, (tensor<96x64xf32>) -> tensor<256x96xf32>
  %b = pst.masked_matmul %x, @map(%w) threshold(%tau, %cut) pruned(%pruned) as adaptive : tensor<256x64xf32>, (tensor<96x64xf32>) -> tensor<256x96xf32>
  return %a, %b : tensor<256x96xf32>, tensor<256x96xf32>
}

// CHECK-LABEL: func.func @types
// CHECK: pst.launch @[[FIRST:masked_weight_4x6_4x6xbf16_sum]] ins
// CHECK: pst.launch @[[SECOND:masked_weight_4x6xbf16_4x6_sum]] ins
// CHECK: pst.launch @[[BOTH:masked_weight_4x6_sum]] ins
func.func @types(%w: tensor<4x6xf32>, %n: tensor<4x6xbf16>)
    -> (tensor<4x6xf32>, tensor<4x6xf32>, tensor<4x6xf32>) {
  %a = pst.masked_weight @sum(%w, %n) : (tensor<4x6xf32>, tensor<4x6xbf16>) -> tensor<4x6xf32>
  %b = pst.masked_weight @sum(%n, %w) : (tensor<4x6xbf16>, tensor<4x6xf32>) -> tensor<4x6xf32>
  %c = pst.masked_weight @sum(%w, %w) : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x6xf32>
  return %a, %b, %c : tensor<4x6xf32>, tensor<4x6xf32>, tensor<4x6xf32>
}

// Each type is shown once; which factor has it, a hash tells.
// CHECK-LABEL: func.func @same_text
// CHECK: pst.launch @masked_weight_4x6_4x6xbf16_three ins
// CHECK: pst.launch @masked_weight_4x6_4x6xbf16_three_{{[0-9a-f]+}} ins
func.func @same_text(%w: tensor<4x6xf32>, %n: tensor<4x6xbf16>)
    -> (tensor<4x6xf32>, tensor<4x6xf32>) {
  %a = pst.masked_weight @three(%w, %n, %w) : (tensor<4x6xf32>, tensor<4x6xbf16>, tensor<4x6xf32>) -> tensor<4x6xf32>
  %b = pst.masked_weight @three(%w, %w, %n) : (tensor<4x6xf32>, tensor<4x6xf32>, tensor<4x6xbf16>) -> tensor<4x6xf32>
  return %a, %b : tensor<4x6xf32>, tensor<4x6xf32>
}

// CHECK-DAG: func.func private @[[COMPRESSED]](
// CHECK-DAG: func.func private @[[ADAPTIVE]](
// CHECK-DAG: func.func private @[[ADAPTIVE]]_compress(
