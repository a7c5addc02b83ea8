// Parameter-efficient sparse training (pst) whose magnitudes count as Wanda has
// them: by what they multiply. W' = W + beta U V,
// S = |W'| norm + alpha1 A B + alpha2 (R + C). Norms are those of the inputs of
// the layer over their root mean square, so that scores are of the size that
// pst's are and layers can be held against each other.
pst.criterion @pst_wanda(%w: dense,
                         %uv: lowrank<weight_rank = 8>(U init<normal 1.0>, V init<zeros>),
                         %ab: lowrank<mask_rank = 8>(A init<normal 1.0>, B init<zeros>),
                         %r: row(R init<zeros>),
                         %c: col(C init<zeros>),
                         %norm: col(norm frozen init<file "*.relative" from "calibration.safetensors">)) attributes {
    pst.selection = #pst.selection<topk global>,
    pst.rates = {weights = 1.0e-4, mask = 10.0, head = 20.0, language = 1.0e-3}} {
  %beta = pst.hyperparameter "weight_beta" = 1.0 : f32
  %change = arith.mulf %uv, %beta : f32
  %weight = arith.addf %w, %change : f32
  %detach = pst.hyperparameter "detach_magnitude" = false
  %detached = pst.detach %weight : f32
  %measured = arith.select %detach, %detached, %weight : f32
  %magnitude = math.absf %measured : f32
  %product = arith.mulf %magnitude, %norm : f32
  %alpha1 = pst.hyperparameter "mask_alpha1" = 1.0 : f32
  %importance = arith.mulf %ab, %alpha1 : f32
  %score1 = arith.addf %product, %importance : f32
  %alpha2 = pst.hyperparameter "mask_alpha2" = 1.0 : f32
  %structure = arith.addf %r, %c : f32
  %scaled = arith.mulf %structure, %alpha2 : f32
  %score2 = arith.addf %score1, %scaled : f32
  pst.yield weight %weight score %score2
}
