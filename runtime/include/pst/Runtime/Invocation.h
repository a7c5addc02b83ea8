//===- Invocation.h - One call of an entry point ----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_INVOCATION_H
#define PST_RUNTIME_INVOCATION_H

#include "pst/Runtime/ParameterStore.h"

namespace pst::runtime {

/// An entry point with its pointers: parameters and spaces are filled in from a
/// store, inputs and outputs by name. May be called many times. The store must
/// outlive it.
class Invocation {
public:
  /// Each space of `returned`, an argument of the entry point, is copied to
  /// where it is bound after each call, as outputs are.
  Invocation(const ParameterStore &store, std::string_view entry,
             std::vector<std::string> returned = {});

  const EntryPoint &entryPoint() const { return *entry; }
  /// Binds the input or output `name`, or a space that is returned, to memory
  /// laid out as its type says, which must stay alive over the calls. Throws
  /// Error if there is no such argument.
  void bind(std::string_view name, const void *data);
  /// The same in the accelerator's memory (RemoteCall::begin). Throws Error if
  /// the program runs here.
  void bindThere(std::string_view name, const void *data);
  bool hasArgument(std::string_view name) const;
  /// Runs the entry point. Throws Error if an argument is not bound, or a file
  /// of the store is not whole any more.
  void operator()() const;
  /// The same in two parts, between which an accelerator computes; here the
  /// first does it all. `finish` is of the oldest call not finished, of
  /// RemoteCall::kBegun at most; its results go to where they were bound when
  /// it was begun.
  void begin() const;
  void finish() const;
  /// Waits for what was begun, whose results go nowhere.
  void abandon() const noexcept;
  /// The call where the program is not for this processor; else null.
  RemoteCall *remoteCall() const { return remote.get(); }

private:
  bool isReturned(const Argument &argument) const;

  std::string name;
  const ParameterStore &store;
  const EntryPoint *entry;
  EntryFunction function = nullptr;
  std::unique_ptr<RemoteCall> remote;
  std::vector<std::string> returned;
  std::vector<void *> pointers;
  std::vector<void *> copies; ///< where spaces that are returned go
  std::vector<bool> there;    ///< of pointers
};

/// Calls the entry points "pack.N", which store weights as the others read
/// them; a weight is in memory as its file has it only for its own call. Once
/// for a store, before any other call. Throws Error for a weight that has more
/// elements that are not zero than the program was compiled for.
void packWeights(ParameterStore &store);

} // namespace pst::runtime

#endif // PST_RUNTIME_INVOCATION_H
