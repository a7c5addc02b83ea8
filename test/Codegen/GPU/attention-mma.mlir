// Attention over bf16 on the tensor cores, forward and backward, with heads of
// 64 columns and dropout, and the widest heads.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: FileCheck %s --check-prefix=PTX --input-file=%t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefix=KERNELS

// PTX: cp.async.cg.shared.global
// PTX: ldmatrix.sync.aligned.m8n8.x4.shared.b16
// PTX: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32

// KERNELS-DAG: attention_backward_256x128xbf16_2x128xi32_heads1_keys: {{([1-9]?[0-9]|1[0-9][0-9]|2[0-3][0-9])}} registers, 43520 bytes shared
// KERNELS-DAG: attention_backward_256x128xbf16_2x128xi32_heads1_queries: {{([1-9]?[0-9]|1[0-5][0-9])}} registers, 43520 bytes shared
// KERNELS-DAG: attention_backward_256x128xbf16_2x128xi32_heads2_probability{{[0-9a-f]+}}_keys: {{([1-9]?[0-9]|1[0-6][0-9])}} registers, 36864 bytes shared
// KERNELS-DAG: attention_backward_256x128xbf16_2x128xi32_heads2_probability{{[0-9a-f]+}}_queries: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 36864 bytes shared
// KERNELS-DAG: attention_256x128xbf16_2x128xi32_heads1: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 26112 bytes shared
// KERNELS-DAG: attention_256x128xbf16_2x128xi32_heads2_probability{{[0-9a-f]+}}: {{[1-9]?[0-9]}} registers, 27648 bytes shared

func.func @narrow(%q: tensor<256x128xbf16>, %k: tensor<256x128xbf16>, %v: tensor<256x128xbf16>, %m: tensor<2x128xi32>,
                  %seed: i64, %g: tensor<256x128xbf16>)
    -> (tensor<256x128xbf16>, tensor<256x128xbf16>, tensor<256x128xbf16>, tensor<256x128xbf16>) {
  %y = nn.attention %q, %k, %v, %m heads 2 dropout %seed probability 0.1 site 1 : tensor<256x128xbf16>, tensor<2x128xi32>
  %dq, %dk, %dv = nn.attention_backward %q, %k, %v, %m, %g heads 2 dropout %seed probability 0.1 site 1
      : tensor<256x128xbf16>, tensor<2x128xi32>
  return %y, %dq, %dk, %dv : tensor<256x128xbf16>, tensor<256x128xbf16>, tensor<256x128xbf16>, tensor<256x128xbf16>
}

func.func @wide(%q: tensor<256x128xbf16>, %k: tensor<256x128xbf16>, %v: tensor<256x128xbf16>, %m: tensor<2x128xi32>,
                %g: tensor<256x128xbf16>)
    -> (tensor<256x128xbf16>, tensor<256x128xbf16>, tensor<256x128xbf16>, tensor<256x128xbf16>) {
  %y = nn.attention %q, %k, %v, %m heads 1 : tensor<256x128xbf16>, tensor<2x128xi32>
  %dq, %dk, %dv = nn.attention_backward %q, %k, %v, %m, %g heads 1 : tensor<256x128xbf16>, tensor<2x128xi32>
  return %y, %dq, %dk, %dv : tensor<256x128xbf16>, tensor<256x128xbf16>, tensor<256x128xbf16>, tensor<256x128xbf16>
}
