// What each selection declares for a layer, and how @select finds it.
// RUN: pst-opt %s -pst-sparsify="method=map selection=row" | FileCheck %s --check-prefix=ROW
// RUN: pst-opt %s -pst-sparsify="method=map selection=global" | FileCheck %s --check-prefix=GLOBAL
// RUN: pst-opt %s -pst-sparsify="method=map selection=2:4" | FileCheck %s --check-prefix=GROUPS
// RUN: pst-opt %s -pst-sparsify="method=map selection=block:3x2 block_score=max" | FileCheck %s --check-prefix=BLOCK
// RUN: pst-opt %s -pst-sparsify="method=map selection=rows" | FileCheck %s --check-prefix=ROWS
// RUN: pst-opt %s -pst-sparsify="method=pst" | FileCheck %s --check-prefix=RECIPE
// RUN: echo '{"a": 0.5}' > %t.json
// RUN: pst-opt %s -pst-sparsify="method=pst layer_sparsity=%t.json" | FileCheck %s --check-prefix=LAYERS

// What no option says, the recipe does, unless layers have sparsities of their own.
// RECIPE: pst.common_threshold @pst
// LAYERS: final_sparsity = 5.000000e-01 : f64{{.*}} selection = #pst.selection<topk layer>
// LAYERS: pst.topk_threshold @pst

// ROW: pst.parameter @a trainable {{.*}} {pst.layer = {factors = ["a"], kinds = ["dense"], pruned = "a.pst_pruned", selection = #pst.selection<topk row>, state = ["a.pst_threshold", "a.pst_cut"]}}
// ROW-NEXT: pst.parameter @a.pst_threshold state init<constant -3.40282{{.*}}E+38> : tensor<4xf32>
// ROW-NEXT: pst.parameter @a.pst_cut state init<constant 8.000000e+00> : tensor<4xi64>
// ROW-NEXT: pst.parameter @a.pst_pruned state init<zeros> : tensor<i64>
// ROW: pst.masked_matmul %{{.*}}, @map(%{{.*}}) selection<topk row>(%{{.*}}, %{{.*}} : tensor<4xf32>, tensor<4xi64>) pruned(%{{.*}}) :
// ROW: func.func @select(%[[S:.*]]: f64
// ROW: %[[TAUS:.*]], %[[CUTS:.*]], %[[PRUNED:.*]] = pst.row_thresholds @map(%{{.*}}), %[[S]] : (tensor<4x8xf32>) -> tensor<4xf32>, tensor<4xi64>
// ROW-NEXT: pst.store %[[TAUS]], @a.pst_threshold : tensor<4xf32>
// ROW-NEXT: pst.store %[[CUTS]], @a.pst_cut : tensor<4xi64>
// ROW-NEXT: pst.store %[[PRUNED]], @a.pst_pruned : tensor<i64>

// GLOBAL: pst.masked_matmul %{{.*}}, @map(%{{.*}}) selection<topk global>(%{{.*}}, %{{.*}} : tensor<f32>, tensor<i64>) pruned(
// GLOBAL: func.func @select(
// GLOBAL: %[[TAU:.*]], %[[CUTS:.*]]:2, %{{.*}}:2 = pst.common_threshold @map(%{{.*}}, %{{.*}}), %{{.*}} previous(%{{.*}}) : (tensor<4x8xf32>, tensor<6x4xf32>) ->
// GLOBAL-NEXT: pst.store %[[TAU]], @a.pst_threshold : tensor<f32>
// GLOBAL-NEXT: pst.store %[[CUTS]]#0, @a.pst_cut : tensor<i64>
// GLOBAL: pst.store %[[TAU]], @b.pst_threshold : tensor<f32>
// GLOBAL-NEXT: pst.store %[[CUTS]]#1, @b.pst_cut : tensor<i64>

// GROUPS: pst.parameter @pst_kept_of_group state init<constant 4.000000e+00> : tensor<i64>
// GROUPS: state = ["pst_kept_of_group"]
// GROUPS: state = ["pst_kept_of_group"]
// GROUPS: pst.masked_matmul %{{.*}}, @map(%{{.*}}) selection<nm 2:4>(%{{.*}} : tensor<i64>) :
// GROUPS: func.func @select(%[[S:.*]]: f64
// GROUPS: %[[SHARE:.*]] = arith.mulf %[[S]], %{{.*}} : f64
// GROUPS: %[[GONE:.*]] = arith.fptosi %[[SHARE]] : f64 to i64
// GROUPS: %[[LEFT:.*]] = arith.subi %{{.*}}, %[[GONE]] : i64
// GROUPS: arith.maxsi %[[LEFT]], %{{.*}} : i64
// GROUPS: pst.store %{{.*}}, @pst_kept_of_group : tensor<i64>
// GROUPS-NEXT: return

// BLOCK: pst.criterion @pst_blocks(%[[SCORE:.*]]: dense) {
// BLOCK-NEXT: pst.yield weight %[[SCORE]] score %[[SCORE]]
// BLOCK: pst.parameter @a.pst_block_scores state init<zeros> : tensor<2x4xf32>
// BLOCK: pst.parameter @a.pst_cut state init<constant 8.000000e+00> : tensor<i64>
// BLOCK: pst.masked_matmul %{{.*}}, @map(%{{.*}}) selection<block 3x2 max>(%{{.*}}, %{{.*}}, %{{.*}} : tensor<2x4xf32>, tensor<f32>, tensor<i64>) :
// BLOCK: func.func @select(
// BLOCK: %[[SCORES:.*]] = pst.block_scores @map(%{{.*}}), <block 3x2 max> : (tensor<4x8xf32>) -> tensor<2x4xf32>
// BLOCK: pst.topk_threshold @pst_blocks(%[[SCORES]]), %{{.*}} previous(%{{.*}}) : (tensor<2x4xf32>)
// BLOCK-NEXT: pst.store %[[SCORES]], @a.pst_block_scores : tensor<2x4xf32>

// ROWS: pst.block_scores @map(%{{.*}}), <rows mean> : (tensor<4x8xf32>) -> tensor<4x1xf32>

pst.parameter @a frozen init<file "a"> {pst.sparsify} : tensor<4x8xf32>
pst.parameter @b frozen init<file "b"> {pst.sparsify} : tensor<6x4xf32>

func.func @forward(%x: tensor<2x8xf32>) -> tensor<2x6xf32> {
  %a = pst.load @a : tensor<4x8xf32>
  %h = nn.linear %x, %a : tensor<2x8xf32>, tensor<4x8xf32> -> tensor<2x4xf32>
  %b = pst.load @b : tensor<6x4xf32>
  %y = nn.linear %h, %b : tensor<2x4xf32>, tensor<6x4xf32> -> tensor<2x6xf32>
  return %y : tensor<2x6xf32>
}
