// from=memory target=cuda
gpu.module @kernels {
  gpu.func @f(%x: !llvm.ptr) kernel attributes {pst.tensor_maps = array<i32: 7>} {
    gpu.return
  }
}
