//===- module.cpp - The extension module pst._pst -------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Bindings.h"

NB_MODULE(_pst, module) {
  pst::python::bindRuntime(module);
  pst::python::bindTensors(module);
  pst::python::bindOptions(module);
  pst::python::bindTraining(module);
  pst::python::bindGeneration(module);
  pst::python::bindCompiler(module);
}
