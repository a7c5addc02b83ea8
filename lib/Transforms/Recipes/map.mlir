// Magnitude pruning: the magnitude selects, and gets no gradient of its own.
pst.criterion @map(%w: dense) trains_model {
  %detached = pst.detach %w : f32
  %magnitude = math.absf %detached : f32
  pst.yield weight %w score %magnitude
}
