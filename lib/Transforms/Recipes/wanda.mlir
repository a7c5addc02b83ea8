// Pruning in one shot by what a layer has read: Sun et al. 2023 (Wanda); what is
// left gets a low-rank change. Norms are of the columns of the layer's input.
pst.criterion @wanda(%w: dense,
                     %uv: lowrank<weight_rank = 8>(U init<normal 1.0>, V init<zeros>),
                     %norm: col(norm frozen init<file "*" from "calibration.safetensors">)) attributes {
    pst.one_shot,
    pst.selection = #pst.selection<topk row>,
    pst.rates = {weights = 1.0e-4, head = 20.0, language = 1.0e-3}} {
  %beta = pst.hyperparameter "weight_beta" = 1.0 : f32
  %change = arith.mulf %uv, %beta : f32
  %weight = arith.addf %w, %change : f32
  %detached = pst.detach %w : f32
  %magnitude = math.absf %detached : f32
  %score = arith.mulf %magnitude, %norm : f32
  pst.yield weight %weight score %score
}
