//===- LeftOut.cpp - Stands in for parts of LLVM that are not linked ------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "llvm/Plugins/PassPlugin.h"

// The linker registers all targets that LLVM was built with. A target that is
// not registered is one that is not there.
#define LLVM_TARGET(name)                                                      \
  extern "C" void LLVMInitialize##name##TargetInfo() {}                        \
  extern "C" void LLVMInitialize##name##Target() {}                            \
  extern "C" void LLVMInitialize##name##TargetMC() {}                          \
  extern "C" void LLVMInitialize##name##AsmPrinter() {}                        \
  extern "C" void LLVMInitialize##name##AsmParser() {}
PST_LEFT_OUT_TARGETS
#undef LLVM_TARGET

// Debian's libLLVMLTO.a registers Polly, of which there is no archive. Its
// passes are off by default.
llvm::PassPluginLibraryInfo getPollyPluginInfo() {
  return {LLVM_PLUGIN_API_VERSION, "Polly", "none", [](llvm::PassBuilder &) {}};
}
