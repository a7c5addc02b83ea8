// Magnitude pruning: the magnitude selects, and gets no gradient of its own.
pst.criterion @map(%w: dense) trains_model attributes {
    pst.selection = #pst.selection<topk global>,
    pst.rates = {weights = 3.0e-4, head = 3.0, language = 3.0e-4}} {
  %detached = pst.detach %w : f32
  %magnitude = math.absf %detached : f32
  pst.yield weight %w score %magnitude
}
