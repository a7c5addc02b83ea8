// from=import modules_to_save=embeddings,pooler



pst.parameter @embeddings.weight frozen init<file "c"> : tensor<3x3xf32>
pst.parameter @layer.0.query.weight frozen init<file "a"> {pst.sparsify} : tensor<4x3xf32>
pst.parameter @pooler.weight frozen init<file "b"> {pst.with_head} : tensor<3x3xf32>
