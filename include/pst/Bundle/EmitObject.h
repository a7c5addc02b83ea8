//===- EmitObject.h - Object code from the llvm dialect ---------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_EMITOBJECT_H
#define PST_BUNDLE_EMITOBJECT_H

#include "mlir/IR/BuiltinOps.h"
#include <memory>
#include <string>
#include <vector>

namespace llvm {
class TargetMachine;
}

namespace pst {

/// The target machine for `triple` ("": this machine's) and `cpu` ("" or
/// "native": this one, with its features; "" for another architecture: its
/// least). Emits an error at `loc` if LLVM knows no such machine.
mlir::FailureOr<std::unique_ptr<llvm::TargetMachine>>
createTargetMachine(llvm::StringRef triple, llvm::StringRef cpu,
                    mlir::Location loc);

/// What of its CPU a machine's code makes use of, "+avx,+avx2,...", for the
/// manifest: it says so where the CPU was named, too, so that a runtime whose
/// processor lacks something does not run the code.
std::string featuresOf(const llvm::TargetMachine &machine);

/// f32 lanes of the vector registers that kernels are written for.
int64_t vectorWidth(const llvm::TargetMachine &machine);
/// Bits of the narrowest elements of 512 that one instruction moves to the
/// lanes of a mask: 8, 32, or 0 if it has none.
int64_t expandBits(const llvm::TargetMachine &machine);
/// Whether LLVM says that gathers are fast: of Intel's AVX-512 yes, of AMD's no.
bool hasFastGather(const llvm::TargetMachine &machine);

/// How much time LLVM takes for code: as much as pays in a training run, or as
/// little as it can, for what runs for a moment. Both compute the same bits.
enum class Effort { Full, Least };

/// Translates and compiles the parts of a program (-pst-split-parts), on as
/// many threads as the context has. An ELF object for each part, in order; the
/// same bits for every number of threads.
mlir::FailureOr<std::vector<std::string>>
emitObjects(mlir::ModuleOp module, const llvm::TargetMachine &machine,
            Effort effort = Effort::Full);

/// The same as text, one part after another.
mlir::FailureOr<std::string> emitAssembly(mlir::ModuleOp module,
                                          const llvm::TargetMachine &machine);

} // namespace pst

#endif // PST_BUNDLE_EMITOBJECT_H
