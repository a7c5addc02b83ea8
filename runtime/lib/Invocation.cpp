//===- Invocation.cpp - One call of an entry point ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Invocation.h"
#include "pst/Runtime/Error.h"

#include <algorithm>
#include <cstring>

using namespace pst;
using namespace pst::runtime;

static bool isFree(const Argument &argument) {
  return argument.kind == Argument::Kind::input ||
         argument.kind == Argument::Kind::output;
}

Invocation::Invocation(const ParameterStore &store, std::string_view entryName,
                       std::vector<std::string> returnedSpaces)
    : name(entryName), store(store),
      entry(&store.program().entryPoint(entryName)),
      returned(std::move(returnedSpaces)), pointers(entry->arguments.size()),
      copies(entry->arguments.size()), there(entry->arguments.size()) {
  if (Accelerator *accelerator = store.accelerator()) {
    remote = accelerator->prepare(entryName, returned);
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

bool Invocation::isReturned(const Argument &argument) const {
  return argument.kind == Argument::Kind::space &&
         std::find(returned.begin(), returned.end(), argument.name) !=
             returned.end();
}

void Invocation::bind(std::string_view argument, const void *data) {
  for (size_t i = 0; i < pointers.size(); ++i)
    if (entry->arguments[i].name == argument &&
        (isFree(entry->arguments[i]) || isReturned(entry->arguments[i]))) {
      bool copied = !isFree(entry->arguments[i]) && !remote;
      (copied ? copies : pointers)[i] = const_cast<void *>(data);
      there[i] = false;
      return;
    }
  throw Error("the entry point \"" + name + "\" has no input or output \"" +
              std::string(argument) + "\"");
}

void Invocation::bindThere(std::string_view argument, const void *data) {
  if (!remote)
    throw Error("the argument \"" + std::string(argument) +
                "\" of the entry point \"" + name +
                "\" lies in an accelerator's memory, but the program runs on "
                "the CPU");
  bind(argument, data);
  for (size_t i = 0; i < pointers.size(); ++i)
    if (isFree(entry->arguments[i]) && entry->arguments[i].name == argument)
      there[i] = true;
}

bool Invocation::hasArgument(std::string_view argument) const {
  for (const Argument &candidate : entry->arguments)
    if (isFree(candidate) && candidate.name == argument)
      return true;
  return false;
}

void Invocation::operator()() const {
  begin();
  finish();
}

void Invocation::begin() const {
  for (size_t i = 0; i < pointers.size(); ++i)
    if (!pointers[i] && (!remote || isFree(entry->arguments[i]) ||
                         isReturned(entry->arguments[i])))
      throw Error("the argument \"" + entry->arguments[i].name +
                  "\" of the entry point \"" + name + "\" was not given");
  store.requireFiles();
  if (remote) {
    store.beforeCall(*entry);
    remote->begin(pointers.data(), there);
    store.afterCall(*entry);
    return;
  }
  function(pointers.data());
  for (size_t i = 0; i < copies.size(); ++i)
    if (copies[i])
      std::memcpy(copies[i], pointers[i],
                  store.spaceBytes(entry->arguments[i].name));
}

void Invocation::finish() const {
  if (remote)
    remote->finish();
}

void Invocation::abandon() const noexcept {
  if (remote)
    remote->abandon();
}
