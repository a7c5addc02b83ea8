// Movement pruning: Sanh et al. 2020. A trained score as large as the weight;
// its gradient is G * W.
pst.criterion @mvp(%w: dense, %s: dense(S init<zeros>)) trains_model {
  pst.yield weight %w score %s
}
