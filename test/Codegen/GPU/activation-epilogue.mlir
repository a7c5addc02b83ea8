// An activation whose input is kept, and the gradient of one, become part of
// products, on the tensor cores of both; so do a dropout's gradient and a
// residual sum's of a norm's. No launch is left for them, and nothing spills.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --target=cuda --emit=llvm | FileCheck %s --check-prefix=LAUNCHES
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefix=KERNELS

// LAUNCHES: gpu.launch_func @kernels::@matmul_4096x256xbf16_512x256xbf16_4096x512xbf16_right_transposed_bias_kept_gelu
// LAUNCHES: gpu.launch_func @kernels::@matmul_4096x256xbf16_256x512xbf16_4096x512xbf16_derivative_gelu
// LAUNCHES: gpu.launch_func @kernels::@layer_norm_backward_
// LAUNCHES-NOT: gpu.launch_func {{.*}}(activation|add|dropout)_

// KERNELS-DAG: matmul_4096x256xbf16_512x256xbf16_4096x512xbf16_right_transposed_bias_kept_gelu: {{[0-9]+}} registers
// KERNELS-DAG: matmul_4096x256xbf16_256x512xbf16_4096x512xbf16_derivative_gelu: {{[0-9]+}} registers
// KERNELS-DAG: layer_norm_backward_{{.*}}: {{[0-9]+}} registers

pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}

func.func @main(%x: tensor<4096x256xbf16>, %w: tensor<512x256xbf16>, %b: tensor<512xf32>, %v: tensor<256x512xbf16>,
                %scale: tensor<512xf32>, %r: tensor<4096x512xbf16>, %seed: i64)
    -> (tensor<4096x512xbf16>, tensor<4096x512xbf16>, tensor<4096x512xbf16>, tensor<4096x512xbf16>, tensor<512xf32>) {
  %z = pst.masked_matmul %x, @dense(%w) bias(%b) : tensor<4096x256xbf16>, (tensor<512x256xbf16>) bias tensor<512xf32> -> tensor<4096x512xbf16>
  %a = nn.activation gelu %z : tensor<4096x512xbf16>
  %da = pst.masked_matmul %x, @dense(%v) transposed : tensor<4096x256xbf16>, (tensor<256x512xbf16>) -> tensor<4096x512xbf16>
  %dz = nn.activation_backward gelu %z, %da : tensor<4096x512xbf16>
  %dx, %ds, %dt = nn.layer_norm_backward %a, %scale, %dz epsilon 1.0e-5 : tensor<4096x512xbf16>, tensor<512xf32>
  %sum = nn.add %r, %dx : tensor<4096x512xbf16>
  %dropped = nn.dropout %sum, %seed probability 0.1 site 3 : tensor<4096x512xbf16>
  return %a, %dz, %sum, %dropped, %ds : tensor<4096x512xbf16>, tensor<4096x512xbf16>, tensor<4096x512xbf16>, tensor<4096x512xbf16>, tensor<512xf32>
}
