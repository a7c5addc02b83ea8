// Magnitude times a norm that is known; a step that is trained; and what is left
// out.
pst.criterion @norms(%w: dense, %norm: col(norm frozen init<file "*.norm" from "norms.safetensors">),
                     %row: row(R init<constant 1.0>),
                     %d: lowrank<size = 2>(P init<normal 0.5>, Q init<zeros>),
                     %none: lowrank<0>(A init<zeros>, B init<zeros>)) trains_model {
  %gamma = pst.hyperparameter "gamma" = 0.5 : f32
  %step = arith.mulf %d, %gamma : f32
  %v = arith.subf %w, %step : f32
  %m = math.absf %v : f32
  %s = arith.mulf %m, %norm : f32
  %delta = pst.hyperparameter "delta" = 0.0 : f32
  %rd = arith.mulf %row, %delta : f32
  %t = arith.addf %rd, %s : f32
  %u = arith.subf %t, %none : f32
  pst.yield weight %v score %u
}
