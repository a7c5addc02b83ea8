//===- Turns.cpp - Objects that threads share -----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Turns.h"
#include "pst/Runtime/Error.h"

using namespace pst::python;

void Turns::take(bool trains) {
  std::unique_lock<std::mutex> lock(mutex);
  bool mine = depth && owner == std::this_thread::get_id();
  if (mine && trains)
    throw runtime::Error(
        "train() was called in a callback of a train() of the same model");
  if (!mine)
    free.wait(lock, [&] { return depth == 0 || isTraining; });
  if (!mine && depth)
    throw runtime::Error(
        "another thread trains the model: wait until its train() returns, or "
        "use the model between steps, in a callback of that train()");
  owner = std::this_thread::get_id();
  ++depth;
  isTraining |= trains;
}

void Turns::giveBack() {
  std::lock_guard<std::mutex> lock(mutex);
  if (--depth == 0) {
    isTraining = false;
    free.notify_one();
  }
}
