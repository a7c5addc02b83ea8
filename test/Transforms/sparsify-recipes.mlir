// DEFINE: %{recipes} = %source_dir/lib/Transforms/Recipes
// RUN: cat %{recipes}/pst.mlir %{recipes}/pst_wanda.mlir %{recipes}/lora.mlir %{recipes}/dense.mlir %{recipes}/map.mlir %{recipes}/mvp.mlir %{recipes}/wanda.mlir %{recipes}/ria.mlir | pst-opt | FileCheck %s

// The methods that are built in, as they are read back: a file of the folder
// Recipes each, in the form in which a user writes one.

// CHECK:      pst.criterion @pst(%[[W:.*]]: dense, %[[UV:.*]]: lowrank<weight_rank = 8>(U init<normal 1.000000e+00>, V init<zeros>),
// CHECK-SAME:   %[[AB:.*]]: lowrank<mask_rank = 8>(A init<normal 1.000000e+00>, B init<zeros>),
// CHECK-SAME:   %[[R:.*]]: row(R init<zeros>), %[[C:.*]]: col(C init<zeros>)) attributes {pst.rates = {head = 2.000000e+01 : f64, language = 1.000000e-03 : f64, mask = 1.000000e+01 : f64, weights = 1.000000e-04 : f64}, pst.selection = #pst.selection<topk global>} {
// CHECK-NEXT:   %[[BETA:.*]] = pst.hyperparameter "weight_beta" = 1.000000e+00 : f32
// CHECK-NEXT:   %[[CHANGE:.*]] = arith.mulf %[[UV]], %[[BETA]]
// CHECK-NEXT:   %[[V:.*]] = arith.addf %[[W]], %[[CHANGE]]
// CHECK-NEXT:   %[[DETACH:.*]] = pst.hyperparameter "detach_magnitude" = false
// CHECK-NEXT:   %[[DETACHED:.*]] = pst.detach %[[V]]
// CHECK-NEXT:   arith.select %[[DETACH]], %[[DETACHED]], %[[V]]
// CHECK:      pst.criterion @pst_wanda(%{{.*}}: dense, {{.*}}, %{{.*}}: col(norm frozen init<file "*.relative" from "calibration.safetensors">))
// CHECK:      pst.criterion @lora(%{{.*}}: dense, %{{.*}}: lowrank<weight_rank = 8>(U init<normal 1.000000e+00>, V init<zeros>)) attributes {pst.rates = {head = 2.000000e+01 : f64, language = 1.000000e-03 : f64, weights = 1.000000e-04 : f64}} {
// CHECK:      pst.criterion @dense(%{{.*}}: dense) trains_model {
// CHECK:      pst.criterion @map(%{{.*}}: dense) trains_model attributes {pst.rates = {head = 3.000000e+00 : f64, language = 3.000000e-04 : f64, weights = 3.000000e-04 : f64}, pst.selection = #pst.selection<topk global>} {
// CHECK:      pst.criterion @mvp(%{{.*}}: dense, %{{.*}}: dense(S init<zeros>)) trains_model {
// CHECK:      pst.criterion @wanda(%{{.*}}: dense, %{{.*}}: lowrank<weight_rank = 8>(U init<normal 1.000000e+00>, V init<zeros>), %{{.*}}: col(norm frozen init<file "*" from "calibration.safetensors">)) attributes {pst.one_shot, pst.rates = {head = 2.000000e+01 : f64, language = 1.000000e-03 : f64, weights = 1.000000e-04 : f64}, pst.selection = #pst.selection<topk row>} {
// CHECK:      pst.criterion @ria(%{{.*}}: dense,
