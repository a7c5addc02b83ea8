// Low-rank adaptation of a sparse model that stays sparse: Lu et al. 2024 (SPP),
// Munoz et al. 2024 (SQFT). The magnitude of the weight as it was selects; where
// that is the sparsity that the model has, its own zeros stay where they are.
pst.criterion @sparse_lora(%w: dense,
                           %uv: lowrank<weight_rank = 8>(U init<normal 1.0>, V init<zeros>)) attributes {
    pst.rates = {weights = 1.0e-4, head = 20.0, language = 1.0e-3}} {
  %beta = pst.hyperparameter "weight_beta" = 1.0 : f32
  %change = arith.mulf %uv, %beta : f32
  %weight = arith.addf %w, %change : f32
  %detached = pst.detach %w : f32
  %magnitude = math.absf %detached : f32
  pst.yield weight %weight score %magnitude
}
