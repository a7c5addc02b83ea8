// from=optimizer
pst.criterion @dense(%w: dense) {
  pst.yield weight %w
}
pst.criterion @lora(%w: dense, %uv: lowrank) {
  %v = arith.addf %w, %uv : f32
  pst.yield weight %v
}
pst.criterion @magnitude(%w: dense) {
  %s = math.absf %w : f32
  pst.yield weight %w score %s
}
pst.criterion @movement(%w: dense, %s: dense) {
  pst.yield weight %w score %s
}
pst.criterion @detached(%w: dense, %uv: lowrank, %ab: lowrank, %r: row, %c: col) {
  %v = arith.addf %w, %uv : f32
  %n = pst.detach %v : f32
  %m = math.absf %n : f32
  %ma = arith.addf %m, %ab : f32
  %rc = arith.addf %r, %c : f32
  %half = arith.constant 0.5 : f32
  %a = arith.mulf %rc, %half : f32
  %s = arith.addf %ma, %a : f32
  pst.yield weight %v score %s
}
pst.criterion @recipe(%w: dense, %uv: lowrank<rank = 8>(U init<normal 1.0>, V init<zeros>),
                      %ab: lowrank<3>(A trainable init<zeros>, B init<constant 0.5>),
                      %r: row(R init<zeros>), %c: col(norm frozen init<file "*" from "norms">)) trains_model {
  %beta = pst.hyperparameter "beta" = 1.0 : f32
  %change = arith.mulf %uv, %beta : f32
  %v = arith.addf %w, %change : f32
  %choice = pst.hyperparameter "choice" = true
  %s = arith.select %choice, %v, %ab : f32
  pst.yield weight %v score %s
}
pst.criterion @simplified(%w: dense, %uv: lowrank, %r: row) {
  %one = arith.constant 1.0 : f32
  %scaled = arith.mulf %uv, %one : f32
  %v = arith.addf %w, %scaled : f32
  %again = arith.addf %w, %uv : f32
  %dead = arith.mulf %r, %again : f32
  %n = pst.detach %again : f32
  %s = math.absf %n : f32
  pst.yield weight %v score %s
}
pst.parameter @unused frozen init<zeros> : tensor<3xf32>
