//===- Driver.cpp - The part of NVIDIA's driver that we use ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Driver.h"
#include "pst/Runtime/Error.h"

#include <cstdlib>
#include <dlfcn.h>

using namespace pst::runtime;
using namespace pst::runtime::cuda;

static Driver openDriver() {
  const char *named = std::getenv("PST_CUDA_LIBRARY");
  std::string library = named && *named ? named : "libcuda.so.1";
  void *handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    throw Error("this program runs on an NVIDIA GPU, but NVIDIA's driver "
                "cannot be opened (" +
                std::string(::dlerror()) +
                "): install it, or compile the program with --target=cpu");
  Driver driver;
#define PST_CUDA_FUNCTION(NAME, PARAMETERS)                                    \
  driver.NAME =                                                                \
      reinterpret_cast<Result(*) PARAMETERS>(::dlsym(handle, #NAME));          \
  if (!driver.NAME)                                                            \
    throw Error("NVIDIA's driver (" + library +                                \
                ") lacks " #NAME                                               \
                ": it is older than CUDA 12.0; install a newer one");
  PST_CUDA_FUNCTIONS(PST_CUDA_FUNCTION)
#undef PST_CUDA_FUNCTION
  Result error = driver.cuInit(0);
  if (error == kNoDevice)
    throw Error("this program runs on an NVIDIA GPU, but this machine has "
                "none, or it is hidden (CUDA_VISIBLE_DEVICES): compile the "
                "program with --target=cpu");
  driver.check(error, "cuInit", "start NVIDIA's driver");
  return driver;
}

const Driver &Driver::get() {
  static const Driver driver = openDriver();
  return driver;
}

std::string Driver::explain(const char *call, Result error) const {
  const char *text = nullptr, *name = nullptr;
  cuGetErrorString(error, &text);
  cuGetErrorName(error, &name);
  return std::string(call) + ": " + (text ? text : "unknown error") + " (" +
         (name ? name : std::to_string(error).c_str()) + ")";
}

void Driver::check(Result error, const char *call,
                   const std::string &what) const {
  if (error != kSuccess)
    throw Error("cannot " + what + ": " + explain(call, error));
}
