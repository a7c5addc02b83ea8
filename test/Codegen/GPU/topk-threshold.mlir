// The kernels of a selection from a bracket: registers that leave room for two
// blocks of 256 threads, and the fences around the tickets of the last block.
// Four searches are launched, of which all after the one that finds the
// threshold return at once.

// REQUIRES: pst-compile, ptxas
// RUN: pst-compile %s --target=cuda --emit=llvm | FileCheck %s --check-prefix=LAUNCHES
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_90a -o %t.sm_90a.ptx
// RUN: FileCheck %s --check-prefix=PTX --input-file=%t.sm_90a.ptx
// RUN: %ptxas sm_90a %t.sm_90a.ptx | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --emit=ptx --gpu-arch=sm_80 -o %t.sm_80.ptx
// RUN: %ptxas sm_80 %t.sm_80.ptx | FileCheck %s --check-prefix=KERNELS

// LAUNCHES-COUNT-4: gpu.launch_func @kernels::@topk_threshold_1000x1024_1000x8_8x1024_f32_i64_pst_unread2_search
// LAUNCHES-NOT: gpu.launch_func

// PTX-LABEL: .visible .entry topk_threshold_1000x1024_1000x8_8x1024_f32_i64_pst_unread2_gather
// PTX: fence.acq_rel.gpu
// PTX: atom.global.add.u32
// PTX: fence.acq_rel.gpu
// PTX-LABEL: .visible .entry topk_threshold_1000x1024_1000x8_8x1024_f32_i64_pst_unread2_search
// PTX: fence.acq_rel.gpu
// PTX: atom.global.add.u32
// PTX: fence.acq_rel.gpu

// KERNELS-DAG: topk_threshold_1000x1024_1000x8_8x1024_f32_i64_pst_unread2_sample: {{[1-3]?[0-9]}} registers, 0 bytes shared
// KERNELS-DAG: topk_threshold_1000x1024_1000x8_8x1024_f32_i64_pst_unread2_bracket: {{[1-7]?[0-9]}} registers, 41104 bytes shared
// KERNELS-DAG: topk_threshold_1000x1024_1000x8_8x1024_f32_i64_pst_unread2_gather: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 10312 bytes shared
// KERNELS-DAG: topk_threshold_1000x1024_1000x8_8x1024_f32_i64_pst_unread2_search: {{([1-9]?[0-9]|1[0-2][0-9])}} registers, 41060 bytes shared

pst.criterion @pst(%w: dense, %ba: lowrank, %uv: lowrank) {
  %v = arith.addf %w, %ba : f32
  %m = math.absf %v : f32
  %s = arith.addf %m, %uv : f32
  pst.yield weight %v score %s
}

func.func @select(%w: tensor<1000x1024xf32>, %b: tensor<1000x8xf32>, %a: tensor<8x1024xf32>,
                  %u: tensor<1000x8xf32>, %v: tensor<8x1024xf32>, %sparsity: f64) -> (tensor<f32>, tensor<i64>) {
  %tau, %cut, %pruned = pst.topk_threshold @pst(%w, %b, %a, %u, %v), %sparsity
      : (tensor<1000x1024xf32>, tensor<1000x8xf32>, tensor<8x1024xf32>, tensor<1000x8xf32>, tensor<8x1024xf32>)
  return %tau, %cut : tensor<f32>, tensor<i64>
}
