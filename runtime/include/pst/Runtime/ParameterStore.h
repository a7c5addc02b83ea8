//===- ParameterStore.h - The memory of a program's parameters --*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_PARAMETERSTORE_H
#define PST_RUNTIME_PARAMETERSTORE_H

#include "pst/Runtime/Accelerator.h"
#include "pst/Runtime/SafeTensors.h"

#include <atomic>
#include <mutex>
#include <set>
#include <string_view>
#include <unordered_map>

namespace pst::runtime {

/// The spaces of a program and its frozen parameters.
///
/// Those of a program for a GPU are in the GPU's memory. This process's memory
/// of a space then is a copy that is brought up to date where it is asked for,
/// and goes back before the next call if it may have been written; it costs
/// nothing as long as nobody looks. Frozen parameters go over once, from where
/// the files are mapped.
class ParameterStore {
public:
  /// Allocates the spaces, maps the frozen parameters from `files`, and gives
  /// every other parameter its first value, as its initialiser says; normal
  /// values depend on `seed` and the parameter's name. `files` may be null if
  /// no parameter comes from a file; else the store keeps it alive.
  ///
  /// Tensors of the parameter's own type are used in place. For an f32
  /// parameter F16, BF16 and F64 are copied as f32; for a bf16 one F32 and F16
  /// are rounded to nearest. Throws Error if a tensor is missing, has another
  /// shape or type, or a floating-point one holds a NaN or an infinity (tensor
  /// and index are named).
  ParameterStore(std::shared_ptr<const Program> program,
                 std::shared_ptr<const ModelFiles> files, uint64_t seed);
  /// Shares the parameters of `other`, weights as programs store them too, with
  /// a program of another batch, length, token capacity or cache length: it has
  /// caches and an arena of its own. Both only evaluate, and nobody writes what
  /// they share. Either may end first. Throws Error if one of the two trains,
  /// or if their parameters differ in name, role, type, source or storage,
  /// naming the first that does.
  ParameterStore(std::shared_ptr<const Program> program,
                 const ParameterStore &other);
  ~ParameterStore();
  ParameterStore(const ParameterStore &) = delete;
  ParameterStore &operator=(const ParameterStore &) = delete;

  const Program &program() const { return *owner; }
  const Manifest &manifest() const { return owner->manifest(); }
  const std::shared_ptr<const ModelFiles> &files() const {
    return weights->files;
  }

  /// Base of a space ("trainable", ...), to be written or read until the next
  /// call; 64-byte aligned. Throws Error if the program has no such space.
  void *space(std::string_view name) const;
  /// The same, to be read only.
  const void *readSpace(std::string_view name) const;
  /// The same in the accelerator's memory, for its work until the next call;
  /// null without one.
  void *spaceThere(std::string_view name) const;
  /// Every byte of a space becomes 0.
  void clearSpace(std::string_view name) const;
  int64_t spaceBytes(std::string_view name) const;

  /// The program's parameter of this name; null if there is none.
  const Parameter *find(std::string_view name) const;

  /// Data of a parameter, of any role, to be read. Throws Error if there is
  /// none.
  const void *data(std::string_view parameter) const;
  const void *data(const Parameter &parameter) const;
  /// Data of a trainable or state parameter in `space` ("trainable",
  /// "gradient", "moment1", "moment2", "state"), to be written.
  void *data(const Parameter &parameter, std::string_view space) const;

  /// Frozen tensors that are bf16 in memory, and wider in their file: rounded
  /// to nearest.
  int64_t numRounded() const { return weights->rounded; }

  /// Whether the entry points "pack.N" alone read a parameter: `packWeights`
  /// then says where its values are, while it calls them.
  bool isPacked(std::string_view parameter) const {
    return readOnce.contains(parameter);
  }
  void holdForPacking(const Parameter &parameter, const void *data,
                      bool isRounded);
  void forgetPacked(const Parameter &parameter);
  /// The model's files, or the file that the parameter names, opened once.
  const ModelFiles &filesOf(const Parameter &parameter) const;

  /// Throws Error if a file whose tensors are used in place became shorter.
  void requireFiles() const;

  /// Where the program runs, if not on this processor; else null.
  Accelerator *accelerator() const { return remote.get(); }
  /// Around each call there: brings over what was written here, and notes that
  /// the call may have written any of its spaces.
  void beforeCall(const EntryPoint &entry) const;
  void afterCall(const EntryPoint &entry) const;

  /// Digest of everything that was taken from the model files: two stores of
  /// equal digest started from the same pretrained weights.
  std::string modelDigest() const;

private:
  /// Of which memory a space's values are.
  enum class Latest { here, both, there };
  /// Pages of its own.
  struct Mapping {
    Mapping(void *base, int64_t bytes) : base(base), bytes(bytes) {}
    ~Mapping();
    Mapping(const Mapping &) = delete;
    Mapping &operator=(const Mapping &) = delete;

    void *base;
    int64_t bytes;
    mutable std::atomic<Latest> latest = Latest::both;
  };
  /// What was taken from files: of all stores that share it, made by the first
  /// and read by all.
  struct Weights {
    std::shared_ptr<const ModelFiles> files;
    std::map<std::string, ModelFiles> ownFiles; ///< by their path
    std::set<const ModelFiles *> filesInPlace;
    std::map<std::string, const void *, std::less<>> frozen;
    std::vector<std::unique_ptr<std::byte[]>> converted; ///< of frozen
    int64_t rounded = 0;
    std::once_flag isDigested;
    /// Of what training changes, from the first; then of all.
    uint64_t digestBits = 0;
  };
  const Mapping &mapping(std::string_view name) const;
  void readManifest();
  void makeSpace(const std::string &name, int64_t bytes);
  void requireShareable(const ParameterStore &other) const;
  void askForLargePages() const;
  void mapFrozen(const Parameter &parameter);
  void initialize(const Parameter &parameter, uint64_t seed);

  std::shared_ptr<const Program> owner;
  std::shared_ptr<Weights> weights;
  std::set<std::string, std::less<>> readOnce; // by "pack.N" alone
  std::unique_ptr<Accelerator> remote;
  std::map<std::string, std::shared_ptr<Mapping>, std::less<>> spaces;
  std::unordered_map<std::string_view, const Parameter *> byName;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_PARAMETERSTORE_H
