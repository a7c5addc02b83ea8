// RUN: not pst-opt %s --pst-sparsify="method=wanda" 2>&1 | FileCheck %s --check-prefix=METHOD
// RUN: pst-opt %s --pst-sparsify="method=lora weight_rank=0" --verify-diagnostics

// METHOD: for the --method option: Cannot find option named 'wanda'!

// expected-error@+1 {{rank must be positive (0 leaves a term of pst out), but got weight rank 0 and mask rank 8}}
module {
  pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<4x3xf32>
}
