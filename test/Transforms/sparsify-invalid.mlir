// RUN: not pst-opt %s --pst-sparsify="method=sparsegpt" 2>&1 | FileCheck %s --check-prefix=METHOD
// RUN: not pst-opt %s --pst-sparsify="method=lora weight_rank=0" 2>&1 | FileCheck %s --check-prefix=NOTHING
// RUN: not pst-opt %s --pst-sparsify="method=ria" 2>&1 | FileCheck %s --check-prefix=MEASURED

// METHOD: for the --method option: Cannot find option named 'sparsegpt'!
// MEASURED: error: the method ria needs what layers have read on some data: --calibration_file FILE
// NOTHING: error: 'pst.criterion' op leaves nothing to train: its weight is the model's own, which is frozen, and it has no score

module {
  pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<4x3xf32>
}
