// Fine-tuning of all weights. Nothing is pruned.
pst.criterion @dense(%w: dense) trains_model {
  pst.yield weight %w
}
