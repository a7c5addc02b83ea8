//===- Turns.h - Objects that threads share ---------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_PYTHON_TURNS_H
#define PST_PYTHON_TURNS_H

#include "pst/Runtime/Model.h"

#include <nanobind/nanobind.h>

#include <condition_variable>
#include <mutex>
#include <thread>

namespace pst::python {

/// Who uses an object that several threads of Python hold: one at a time.
class Turns {
public:
  /// Waits for the object, or throws Error if another thread trains it, which
  /// may take days. The caller must not have the interpreter's lock: whoever
  /// has the object may be waiting for that. A thread that has the object, and
  /// is back in Python in a callback, takes it again.
  void take(bool trains = false);
  void giveBack();

private:
  std::mutex mutex;
  std::condition_variable free;
  std::thread::id owner;
  int depth = 0;
  bool isTraining = false;
};

/// Runs `work` with the object of `turns` to itself, and without the
/// interpreter's lock, which the caller has before and after.
template <typename Work>
auto inTurn(Turns &turns, Work work, bool trains = false) {
  nanobind::gil_scoped_release release;
  turns.take(trains);
  struct GiveBack {
    ~GiveBack() { turns.giveBack(); }
    Turns &turns;
  } giveBack{turns};
  return work();
}

/// `pst._pst.Model`.
struct SharedModel : runtime::Model {
  using Model::Model;
  mutable Turns turns;
};

} // namespace pst::python

#endif // PST_PYTHON_TURNS_H
