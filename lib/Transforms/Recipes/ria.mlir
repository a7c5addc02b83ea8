// Pruning in one shot by relative importance and activations: Zhang et al. 2024
// (RIA); what is left gets a low-rank change. A weight's share of its row and of
// its column, times the root of the norm of what the column has read.
pst.criterion @ria(%w: dense,
                   %uv: lowrank<weight_rank = 8>(U init<normal 1.0>, V init<zeros>),
                   %norm: col(norm frozen init<file "*" from "calibration.safetensors">),
                   %row: row(row frozen init<file "*.rows" from "calibration.safetensors">),
                   %column: col(column frozen init<file "*.columns" from "calibration.safetensors">)) attributes {
    pst.one_shot,
    pst.rates = {weights = 1.0e-4, head = 20.0, language = 1.0e-3}} {
  %beta = pst.hyperparameter "weight_beta" = 1.0 : f32
  %change = arith.mulf %uv, %beta : f32
  %weight = arith.addf %w, %change : f32
  %detached = pst.detach %w : f32
  %magnitude = math.absf %detached : f32
  %of_row = arith.divf %magnitude, %row : f32
  %of_column = arith.divf %magnitude, %column : f32
  %relative = arith.addf %of_row, %of_column : f32
  %root = math.sqrt %norm : f32
  %score = arith.mulf %relative, %root : f32
  pst.yield weight %weight score %score
}
