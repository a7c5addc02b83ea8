// RUN: pst-opt %s --pst-sparsify="method=pst" | FileCheck %s --check-prefix=TRAINED
// RUN: pst-opt %s --pst-sparsify="method=lora" | FileCheck %s --check-prefix=TRAINED
// RUN: pst-opt %s --pst-sparsify="method=pst modules_to_save=none" | FileCheck %s --check-prefix=FROZEN
// RUN: pst-opt %s --pst-sparsify="method=pst modules_to_save=embeddings" | FileCheck %s --check-prefix=ANOTHER
// RUN: pst-opt %s --pst-sparsify="method=map" | FileCheck %s --check-prefix=MODEL

// Where the model is frozen, what is marked is trained with the head and at its
// rate; a list of modules takes the place of that, and a method that trains the
// model trains it at the rate of its weights.

// TRAINED: pst.parameter @embeddings.weight frozen
// TRAINED: pst.parameter @pooler.weight trainable init<file "b"> {group = #pst<rate_group head>} : tensor<3x3xf32>
// FROZEN: pst.parameter @embeddings.weight frozen
// FROZEN: pst.parameter @pooler.weight frozen init<file "b"> : tensor<3x3xf32>
// ANOTHER: pst.parameter @embeddings.weight trainable init<file "c"> {group = #pst<rate_group head>} : tensor<3x3xf32>
// ANOTHER: pst.parameter @pooler.weight frozen init<file "b"> : tensor<3x3xf32>
// MODEL: pst.parameter @embeddings.weight trainable init<file "c"> : tensor<3x3xf32>
// MODEL: pst.parameter @pooler.weight trainable init<file "b"> : tensor<3x3xf32>

pst.parameter @embeddings.weight frozen init<file "c"> : tensor<3x3xf32>
pst.parameter @layer.0.query.weight frozen init<file "a"> {pst.sparsify} : tensor<4x3xf32>
pst.parameter @pooler.weight frozen init<file "b"> {pst.with_head} : tensor<3x3xf32>
