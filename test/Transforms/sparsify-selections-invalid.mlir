// Selections that are not known, or do not fit a layer.
// RUN: not pst-opt %s -pst-sparsify="selection=best" 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not pst-opt %s -pst-sparsify="selection=block:16" 2>&1 | FileCheck %s --check-prefix=BLOCK
// RUN: not pst-opt %s -pst-sparsify="selection=4:2" 2>&1 | FileCheck %s --check-prefix=ORDER
// RUN: not pst-opt %s -pst-sparsify="selection=rows block_score=least" 2>&1 | FileCheck %s --check-prefix=SCORE
// RUN: not pst-opt %s -pst-sparsify="selection=2:4" 2>&1 | FileCheck %s --check-prefix=COLUMNS

// UNKNOWN: error: unknown selection 'best': topk, row, global, 2:4 (or another N:M), block:16x16 (or another size) and rows are known
// BLOCK: error: unknown selection 'block:16': topk, row, global, 2:4 (or another N:M), block:16x16 (or another size) and rows are known
// ORDER: error: some of a group of 2, 4, 8, 16 or 32 neighbours must stay and some go, but got 4:2
// SCORE: least
// COLUMNS: error: 'pst.parameter' op has 6 columns, which the groups of the selection 'nm 2:4' must divide: choose another selection

pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<4x6xf32>
