//===- Import.h - From a model directory to a module ------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_IMPORT_IMPORT_H
#define PST_IMPORT_IMPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "pst/Options/CompilerOptions.h"

namespace pst {

/// Builds the module of a Hugging Face directory: config.json, and
/// model.safetensors or its shards, of which the headers only are read. With
/// `allowMissingWeights`, `directory` may also be a config.json.
///
/// The module has one `pst.parameter` for each tensor, by its canonical name:
/// frozen, but for the classifier (and a pooler that the files lack), which is
/// trainable. Weights of the encoder's linear layers have the attribute
/// `pst.sparsify`, a pooler has `pst.with_head`. Its function, with B x L the
/// batch and C the labels:
///
///     @forward(input_ids, attention_mask, token_type_ids: tensor<BxLxi32>,
///              labels: tensor<Bxi32> (Bxf32 for regression, BxCxf32 of
///                      0 and 1 for several labels an example, BxLxi32 of the
///                      tokens' classes),
///              [class_weights: tensor<Cxf32>, label_smoothing: f32,]
///              [teacher_logits: tensor<BxCxf32> (Bxf32 for regression),
///               distillation_scale: f32, temperature: f32,]
///              loss_scale: f32, seed: i64)
///         -> (loss: tensor<f32>, logits: tensor<BxCxf32>)
///
/// token_type_ids are absent in models that have none, and class_weights and
/// label_smoothing unless the options ask for a weighted loss (of a language
/// model label_smoothing alone, of several labels class_weights); a teacher's
/// logits, and what the divergence from them is scaled by, unless they ask for
/// distillation (a regression has no temperature). A language model's labels
/// are the tokens themselves (tensor<BxLxi32>, -100 where nothing is to be
/// predicted; each is predicted from those before it), and it has no logits. A
/// parameter that is some columns of a stored tensor is called NAME:PART.
///
/// With a `cacheLength` C, a language model has no @forward but, with T tokens
/// (one of each of the B sequences for @decode, L for @prefill, of any),
///
///     @prefill(input_ids, sequences, positions: tensor<Tx1xi32>,
///              slots: tensor<BxCxi32>)
///     @decode(the same) -> (logits: tensor<BxVxf32>)
///
/// which put the keys and values of the tokens into the cache parameters
/// `pst_cache.LAYER.keys` and `.values` (nn.cache_rows), B*C slots each.
///
/// Arguments and results bear their names as `pst.name`. Each op's location is
/// the part of the model it belongs to ("encoder.layer.3.attention"). The
/// module's attribute `pst.architecture` is the class of `transformers` that
/// reads the finished model, `pst.config` the text of config.json, `pst.task`
/// what is learnt, a word of ModelTask.
///
/// Whatever is wrong with the directory is a diagnostic at the file, and in
/// config.json at the key; a location of line 0 is a file as a whole.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>>
importModel(mlir::MLIRContext &context, llvm::StringRef directory,
            const ImportOptions &options);

/// Emits an error if a parameter of an imported model, such as a head that its
/// files lack, starts from random values: for what is not to be trained.
mlir::LogicalResult refuseNewHead(mlir::ModuleOp module);

/// Gives the arguments of public functions the names that they have in `text`,
/// which the module was parsed from: as `pst.name`, unless they have one.
void nameArguments(mlir::ModuleOp module, llvm::StringRef text);

} // namespace pst

#endif // PST_IMPORT_IMPORT_H
