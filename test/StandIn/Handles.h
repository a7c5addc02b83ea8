//===- Handles.h - What the driver gives out --------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_TEST_STANDIN_HANDLES_H
#define PST_TEST_STANDIN_HANDLES_H

#include "State.h"

namespace standin {

inline constexpr Result kInvalidValue = 1;

/// Begins a function of the driver (State::enter).
inline State &enter(const char *name, bool needsContext = true,
                    bool mayCapture = false) {
  State &state = State::get();
  state.enter(name, needsContext, mayCapture);
  return state;
}

/// What a handle stands for; it must exist.
template <typename T>
T &lookUp(std::map<T *, std::unique_ptr<T>> &all, const void *handle,
          const char *what) {
  auto found = all.find(static_cast<T *>(const_cast<void *>(handle)));
  if (found == all.end())
    fail(std::string(what) + " that does not exist, or no longer");
  return *found->second;
}

template <typename T> T *create(std::map<T *, std::unique_ptr<T>> &all) {
  auto made = std::make_unique<T>();
  T *handle = made.get();
  all[handle] = std::move(made);
  return handle;
}

/// Destroys after all work that may use it: the driver would wait, too.
template <typename T>
Result destroy(const char *name, std::map<T *, std::unique_ptr<T>> &all,
               const void *handle) {
  State &state = enter(name);
  lookUp(all, handle, name);
  state.drainAll();
  all.erase(static_cast<T *>(const_cast<void *>(handle)));
  return kSuccess;
}

} // namespace standin

#endif // PST_TEST_STANDIN_HANDLES_H
