// RUN: pst-opt %s --pst-wrap-entry-points | FileCheck %s

// An entry point takes an array of pointers: buffers are passed on, scalars
// loaded. Kernels are hidden, and get no wrapper.

// CHECK-LABEL: llvm.func @pst_select(
// CHECK-SAME: %[[ARGS:.*]]: !llvm.ptr) {
// CHECK: %[[SLOT0:.*]] = llvm.getelementptr %[[ARGS]][0]
// CHECK: %[[STATE:.*]] = llvm.load %[[SLOT0]] : !llvm.ptr -> !llvm.ptr
// CHECK: %[[SLOT1:.*]] = llvm.getelementptr %[[ARGS]][1]
// CHECK: %[[ADDRESS:.*]] = llvm.load %[[SLOT1]] : !llvm.ptr -> !llvm.ptr
// CHECK: %[[SPARSITY:.*]] = llvm.load %[[ADDRESS]] : !llvm.ptr -> f64
// CHECK: llvm.call @select(%[[STATE]], %[[SPARSITY]])
// CHECK: llvm.func internal @select(%{{.*}}: !llvm.ptr, %{{.*}}: f64)
llvm.func @select(%state: !llvm.ptr {pst.kind = "space"}, %sparsity: f64) {
  llvm.return
}

// CHECK-NOT: @pst_kernel
// CHECK: llvm.func hidden @kernel
llvm.func @kernel(%x: !llvm.ptr) attributes {sym_visibility = "private"} {
  llvm.return
}
