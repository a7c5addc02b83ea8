// Low-rank adaptation: Hu et al. 2021. Nothing is pruned.
pst.criterion @lora(%w: dense,
                    %uv: lowrank<weight_rank = 8>(U init<normal 1.0>, V init<zeros>)) attributes {
    pst.rates = {weights = 1.0e-4, head = 20.0, language = 1.0e-3}} {
  %beta = pst.hyperparameter "weight_beta" = 1.0 : f32
  %change = arith.mulf %uv, %beta : f32
  %weight = arith.addf %w, %change : f32
  pst.yield weight %weight
}
