// RUN: split-file %s %t
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/none.mlir" 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/syntax.mlir" 2>&1 | FileCheck %s --check-prefix=SYNTAX
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/type.mlir" 2>&1 | FileCheck %s --check-prefix=TYPE
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/undeclared.mlir" 2>&1 | FileCheck %s --check-prefix=UNDECLARED
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/two.mlir" 2>&1 | FileCheck %s --check-prefix=TWO
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/empty.mlir" 2>&1 | FileCheck %s --check-prefix=EMPTY
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/idle.mlir" 2>&1 | FileCheck %s --check-prefix=IDLE
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/same.mlir" 2>&1 | FileCheck %s --check-prefix=SAME
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/good.mlir hyperparameters=beta=1" 2>&1 | FileCheck %s --check-prefix=NAME
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/good.mlir hyperparameters=rank=1.5" 2>&1 | FileCheck %s --check-prefix=RANK
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/good.mlir hyperparameters=choice=2" 2>&1 | FileCheck %s --check-prefix=CHOICE
// RUN: not pst-opt %t/layer.mlir --pst-sparsify="criterion=%t/good.mlir hyperparameters=rank" 2>&1 | FileCheck %s --check-prefix=PAIR

// What is wrong with a criterion of the user's is told at its lines.

// NONE: {{.*}}none.mlir:0:0: error: cannot read: No such file or directory
// SYNTAX: {{.*}}syntax.mlir:2:8: error: custom op 'arith.add' is unknown
// TYPE: {{.*}}type.mlir:3:19: error: use of value '%c' expects different type than prior uses: 'f32' vs 'i1'
// UNDECLARED: {{.*}}undeclared.mlir:1:1: error: 'pst.criterion' op is a method, so each factor after the layer's weight must say how it begins, as in '%s: dense(S init<zeros>)'
// TWO: {{.*}}two.mlir:4:1: error: 'pst.criterion' op is one too many: a file is one 'pst.criterion'
// EMPTY: {{.*}}empty.mlir:1:1: error: expected a 'pst.criterion'
// IDLE: {{.*}}idle.mlir:1:1: error: 'pst.criterion' op leaves nothing to train: its weight is the model's own, which is frozen, and it has no score
// SAME: {{.*}}same.mlir:1:1: error: 'pst.criterion' op has the name of something else in the module
// SAME: {{.*}}layer.mlir:2:1: note: declared here
// NAME: {{.*}}good.mlir:1:1: error: 'pst.criterion' op has no hyperparameter 'beta'; it has: choice, rank
// RANK: {{.*}}good.mlir:1:1: error: 'pst.criterion' op needs a rank for 'rank', a whole number from 0 (which leaves a term out) to 65536, but got 1.5
// CHOICE: {{.*}}good.mlir:2:13: error: 'pst.hyperparameter' op is a choice, so it must be 0 or 1, but got 2
// PAIR: error: hyperparameters must be NAME=NUMBER, with commas between them, but got 'rank'

//--- layer.mlir

pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<4x3xf32>

//--- syntax.mlir
pst.criterion @c(%w: dense) trains_model {
  %v = arith.add %w, %w : f32
  pst.yield weight %v
}

//--- type.mlir
pst.criterion @c(%w: dense) trains_model {
  %c = arith.cmpf ogt, %w, %w : f32
  %d = arith.andi %c, %w : f32
  pst.yield weight %w
}

//--- undeclared.mlir
pst.criterion @c(%w: dense, %s: dense) {
  pst.yield weight %w score %s
}

//--- two.mlir
pst.criterion @c(%w: dense) trains_model {
  pst.yield weight %w
}
pst.criterion @d(%w: dense) trains_model {
  pst.yield weight %w
}

//--- empty.mlir
// Nothing.

//--- idle.mlir
pst.criterion @c(%w: dense, %uv: lowrank<0>(U init<zeros>, V init<zeros>)) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}

//--- same.mlir
pst.criterion @a(%w: dense) trains_model {
  pst.yield weight %w
}

//--- good.mlir
pst.criterion @c(%w: dense, %uv: lowrank<rank = 1>(U init<zeros>, V init<zeros>)) {
  %choice = pst.hyperparameter "choice" = false
  %v = arith.select %choice, %uv, %w : f32
  pst.yield weight %v score %w
}
