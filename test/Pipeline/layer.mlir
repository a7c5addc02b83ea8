// One sparse layer, from text through every stage of the pipeline: what a
// reader of docs/Architecture.md can follow by hand.

// REQUIRES: pst-compile
// RUN: pst-compile %s --selection=topk --emit=sparsify --weight-rank 2 --mask-rank 3 | FileCheck %s --check-prefix=SPARSIFY
// RUN: pst-compile %s --selection=topk --emit=autodiff --weight-rank 2 --mask-rank 3 | FileCheck %s --check-prefix=AUTODIFF
// RUN: pst-compile %s --selection=topk --emit=optimizer --weight-rank 2 --mask-rank 3 | FileCheck %s --check-prefix=OPTIMIZER
// RUN: pst-compile %s --selection=topk --emit=kernels --weight-rank 2 --mask-rank 3 | FileCheck %s --check-prefix=KERNELS
// RUN: pst-compile %s --selection=topk --emit=memory --weight-rank 2 --mask-rank 3 | FileCheck %s --check-prefix=MEMORY
// RUN: pst-compile %s --selection=topk --emit=llvm --weight-rank 2 --mask-rank 3 | FileCheck %s --check-prefix=LLVM
// RUN: pst-compile %s --selection=topk -o %t.bundle --weight-rank 2 --mask-rank 3
// RUN: pst-run info --bundle %t.bundle | FileCheck %s --check-prefix=INFO

// SPARSIFY: pst.criterion @pst(%{{.*}}: dense, %{{.*}}: lowrank, %{{.*}}: lowrank, %{{.*}}: row, %{{.*}}: col)
// SPARSIFY: pst.parameter @w.pst_A trainable init<normal 1.000000e+00> {decay, group = #pst<rate_group mask>} : tensor<7x3xf32>
// SPARSIFY: func.func @forward
// SPARSIFY: pst.masked_matmul %{{.*}}, @pst({{.*}}) threshold({{.*}}) bias(
// SPARSIFY: func.func @select(%{{.*}}: f64 {pst.name = "sparsity"})
// SPARSIFY: func.func @materialize() -> (tensor<7x5xf32> {pst.name = "w"})

// AUTODIFF: func.func @forward_backward
// AUTODIFF: nn.cross_entropy_backward
// AUTODIFF: pst.lowrank_accumulate {{.*}} wrt [1, 2, 3, 4, 5, 6]
// AUTODIFF: pst.accumulate %{{.*}}, @w.pst_U : tensor<7x2xf32>

// OPTIMIZER: pst.parameter @bias trainable init<zeros> {offset = 448 : i64}
// OPTIMIZER: pst.adamw size 128 decayed 112

// KERNELS: pst.launch @masked_matmul_{{.*}} -> tensor<3x7xf32>
// KERNELS: func.func private @masked_matmul_

// MEMORY: pst.memory = {arena = {{[0-9]+}} : i64, cache = 0 : i64, frozen = 140 : i64, state = 192 : i64, trainable = 512 : i64
// MEMORY: func.func @forward_backward({{.*}}memref<512xi8> {pst.kind = "space", pst.name = "gradient"}
// MEMORY: memref.view %{{.*}} : memref<{{.*}}xi8> to memref<3x7xf32>
// MEMORY-NOT: memref.alloc()

// LLVM: llvm.func @pst_forward_backward(%{{.*}}: !llvm.ptr)
// LLVM: llvm.func internal @forward_backward(

// INFO: forward_backward

pst.parameter @w frozen init<file "w"> {pst.sparsify} : tensor<7x5xf32>
pst.parameter @bias trainable init<zeros> : tensor<7xf32>
func.func @forward(%x: tensor<3x5xf32> {pst.name = "x"},
                   %labels: tensor<3xi32> {pst.name = "labels"},
                   %loss_scale: f32 {pst.name = "loss_scale"},
                   %seed: i64 {pst.name = "seed"})
    -> (tensor<f32> {pst.name = "loss"}, tensor<3x7xf32> {pst.name = "logits"}) {
  %w = pst.load @w : tensor<7x5xf32>
  %b = pst.load @bias : tensor<7xf32>
  %d = nn.dropout %x, %seed probability 0.5 site 0 : tensor<3x5xf32>
  %y = nn.linear %d, %w bias(%b : tensor<7xf32>) : tensor<3x5xf32>, tensor<7x5xf32> -> tensor<3x7xf32>
  %loss = nn.cross_entropy %y, %labels, %loss_scale : tensor<3x7xf32>, tensor<3xi32>
  return %loss, %y : tensor<f32>, tensor<3x7xf32>
}
