// A dropout and a residual sum become part of the product, on the tensor cores
// of both; no launch is left for them, and nothing is spilled.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --target=cuda --emit=llvm | FileCheck %s --check-prefix=LAUNCHES
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefix=KERNELS

// LAUNCHES: gpu.launch_func @kernels::@matmul_256x128xbf16_256x256xbf16_right_transposed_bias_dropout_addend
// LAUNCHES-NOT: gpu.launch_func

// KERNELS: matmul_256x128xbf16_256x256xbf16_right_transposed_bias_dropout_addend: {{[0-9]+}} registers

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @main(%x: tensor<256x128xbf16>, %w: tensor<256x128xbf16>, %b: tensor<256xf32>, %r: tensor<256x256xbf16>, %seed: i64) -> tensor<256x256xbf16> {
  %y = pst.masked_matmul %x, @dense(%w) bias(%b) : tensor<256x128xbf16>, (tensor<256x128xbf16>) bias tensor<256xf32> -> tensor<256x256xbf16>
  %d = nn.dropout %y, %seed probability 0.1 site 3 : tensor<256x256xbf16>
  %z = nn.add %d, %r : tensor<256x256xbf16>
  return %z : tensor<256x256xbf16>
}
