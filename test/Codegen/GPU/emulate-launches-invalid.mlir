// RUN: pst-opt %s --pst-emulate-launches --verify-diagnostics

module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @size(%x: memref<1xindex>) kernel {
      %c0 = arith.constant 0 : index
      // expected-error @below {{'gpu.subgroup_size' op has no emulation}}
      %id = gpu.subgroup_size : index
      memref.store %id, %x[%c0] : memref<1xindex>
      gpu.return
    }
  }
}
