//===- Invocation.cpp - One call of an entry point ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Invocation.h"
#include "pst/Runtime/Error.h"

using namespace pst;
using namespace pst::runtime;

static bool isFree(const Argument &argument) {
  return argument.kind == Argument::Kind::input ||
         argument.kind == Argument::Kind::output;
}

Invocation::Invocation(const ParameterStore &store, std::string_view entryName)
    : name(entryName), store(store),
      entry(&store.program().entryPoint(entryName)),
      pointers(entry->arguments.size()) {
  if (Accelerator *accelerator = store.accelerator()) {
    remote = accelerator->prepare(entryName);
    return; // it knows the store's memory
  }
  function = store.program().function(entryName);
  for (size_t i = 0; i < pointers.size(); ++i) {
    const Argument &argument = entry->arguments[i];
    if (argument.kind == Argument::Kind::parameter)
      pointers[i] = const_cast<void *>(store.data(argument.name));
    else if (argument.kind == Argument::Kind::space)
      pointers[i] = store.space(argument.name);
  }
}

void Invocation::bind(std::string_view argument, const void *data) {
  for (size_t i = 0; i < pointers.size(); ++i)
    if (isFree(entry->arguments[i]) && entry->arguments[i].name == argument) {
      pointers[i] = const_cast<void *>(data);
      return;
    }
  throw Error("the entry point \"" + name + "\" has no input or output \"" +
              std::string(argument) + "\"");
}

bool Invocation::hasArgument(std::string_view argument) const {
  for (const Argument &candidate : entry->arguments)
    if (isFree(candidate) && candidate.name == argument)
      return true;
  return false;
}

void Invocation::operator()() const {
  for (size_t i = 0; i < pointers.size(); ++i)
    if (!pointers[i] && (!remote || isFree(entry->arguments[i])))
      throw Error("the argument \"" + entry->arguments[i].name +
                  "\" of the entry point \"" + name + "\" was not given");
  if (!remote) {
    function(pointers.data());
    return;
  }
  store.beforeCall(*entry);
  (*remote)(pointers.data());
  store.afterCall(*entry);
}
