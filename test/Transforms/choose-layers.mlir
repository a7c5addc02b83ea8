// RUN: pst-opt %s --pst-sparsify="method=map target_modules=query,h.0.c_attn" | FileCheck %s --check-prefix=NAMES
// RUN: pst-opt %s --pst-sparsify="method=map target_modules=layer.\d+.(query|key) exclude_modules=layer.1.key" | FileCheck %s --check-prefix=PATTERN
// RUN: not pst-opt %s --pst-sparsify="method=map target_modules=query,keys" 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not pst-opt %s --pst-sparsify="method=map exclude_modules=layer.(0" 2>&1 | FileCheck %s --check-prefix=BROKEN
// RUN: not pst-opt %s --pst-sparsify="method=map exclude_modules=.*" 2>&1 | FileCheck %s --check-prefix=NOTHING

// Layers are named by their whole name, by its end after a dot, or by an
// expression for all of it; a part goes by the name of the whole, too.

// NAMES: pst.parameter @layer.0.query.weight {{.*}}{pst.layer
// NAMES-NEXT: pst.parameter @layer.0.query.weight.pst_
// NAMES-NOT: @layer.0.key.weight.pst_
// NAMES: pst.parameter @layer.1.query.weight.pst_
// NAMES-NOT: @layer.1.key.weight.pst_
// NAMES-NOT: @subquery.weight.pst_
// NAMES: pst.parameter @"h.0.c_attn.weight:query.pst_
// NAMES: pst.parameter @"h.0.c_attn.weight:key.pst_

// PATTERN: @layer.0.query.weight.pst_
// PATTERN: @layer.0.key.weight.pst_
// PATTERN: @layer.1.query.weight.pst_
// PATTERN-NOT: {{(layer.1.key|subquery|c_attn).*}}.pst_
// PATTERN: func.func @select

// UNKNOWN: error: target_modules: no linear layer is called 'keys'; those that can become sparse are: layer.*.query, layer.*.key, subquery, h.*.c_attn:query, h.*.c_attn:key
// BROKEN: error: exclude_modules: 'layer.(0' is no regular expression: parentheses not balanced
// NOTHING: error: exclude_modules leaves no linear layer to be made sparse

pst.parameter @layer.0.query.weight frozen init<file "a"> {pst.sparsify} : tensor<4x3xf32>
pst.parameter @layer.0.key.weight frozen init<file "b"> {pst.sparsify} : tensor<4x3xf32>
pst.parameter @layer.1.query.weight frozen init<file "c"> {pst.sparsify} : tensor<4x3xf32>
pst.parameter @layer.1.key.weight frozen init<file "d"> {pst.sparsify} : tensor<4x3xf32>
pst.parameter @subquery.weight frozen init<file "e"> {pst.sparsify} : tensor<4x3xf32>
pst.parameter @"h.0.c_attn.weight:query" frozen init<file "f" columns 0 of 6> {pst.sparsify} : tensor<4x3xf32>
pst.parameter @"h.0.c_attn.weight:key" frozen init<file "f" columns 3 of 6> {pst.sparsify} : tensor<4x3xf32>
