// RUN: pst-opt %s --pst-sparsify="method=wanda" --split-input-file --verify-diagnostics

// expected-error@+1 {{unknown method 'wanda': pst, dense, lora, map and mvp are known}}
module {
  pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<4x3xf32>
}
