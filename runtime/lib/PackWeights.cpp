//===- PackWeights.cpp - Weights as a program stores them -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ParameterSource.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Invocation.h"
#include "pst/Runtime/Memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <utility>

using namespace pst;
using namespace pst::runtime;

namespace {

/// Memory for the weights of one call, which serves all calls: pages that are
/// used again need not be cleared again.
class Workspace {
public:
  Workspace() = default;
  ~Workspace() { unmap(); }
  Workspace(Workspace &&other) noexcept
      : base(std::exchange(other.base, nullptr)), bytes(other.bytes) {}

  std::byte *ask(int64_t wanted, const std::string &parameter) {
    if (base && wanted <= bytes)
      return base;
    unmap();
    bytes = std::max<int64_t>(wanted, 1);
    void *pages = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
      throw Error("cannot allocate " + formatBytes(wanted) + " for \"" +
                  parameter + "\": " + std::strerror(errno));
    (void)::madvise(pages, bytes, MADV_HUGEPAGE); // fewer page faults
    return base = static_cast<std::byte *>(pages);
  }

private:
  void unmap() {
    if (base)
      ::munmap(base, bytes);
    base = nullptr;
  }

  std::byte *base = nullptr;
  int64_t bytes = 0;
};

} // namespace

/// Puts the weights that an entry point alone reads where it reads them.
static std::vector<ParameterSource>
readWeights(ParameterStore &store, const EntryPoint &entry,
            std::vector<Workspace> &spaces) {
  std::vector<ParameterSource> sources;
  for (const Argument &argument : entry.arguments) {
    if (argument.kind != Argument::Kind::parameter ||
        !store.isPacked(argument.name))
      continue;
    const Parameter &parameter = *store.find(argument.name);
    ParameterSource &source =
        sources.emplace_back(parameter, store.filesOf(parameter));
    const std::byte *data = source.inPlace();
    if (data) {
      source.requireFinite(0, source.rows(), data);
    } else {
      spaces.resize(std::max(spaces.size(), sources.size()));
      std::byte *space = spaces[sources.size() - 1].ask(
          parameter.type.numBytes(), parameter.name);
      source.read(0, source.rows(), space);
      data = space;
    }
    store.holdForPacking(parameter, data, source.isRounded());
  }
  return sources;
}

/// Stores a weight of which an entry point takes some rows at a time, those of
/// `piece`.
static void packPieces(ParameterStore &store, const std::string &name,
                       const Argument &piece, Workspace &space) {
  const Parameter &parameter = *store.find(piece.name);
  ParameterSource source(parameter, store.filesOf(parameter));
  Invocation call(store, name);
  int64_t most = piece.type.shape.front();
  for (int64_t next = 0; next < source.rows(); next += most) {
    // The last ones may be stored twice.
    int64_t first = std::min(next, source.rows() - most);
    const std::byte *rows = source.inPlace();
    if (rows) {
      rows += first * source.rowBytes();
      source.requireFinite(first, most, rows);
    } else {
      std::byte *read = space.ask(piece.type.numBytes(), parameter.name);
      source.read(first, most, read);
      rows = read;
    }
    call.bind(piece.name, rows);
    for (const Argument &argument : call.entryPoint().arguments)
      if (argument.kind == Argument::Kind::output) {
        const Parameter &stored = *store.find(argument.name);
        int64_t rowBytes = argument.type.numBytes() / most;
        call.bind(argument.name,
                  static_cast<std::byte *>(store.data(stored, "state")) +
                      first * rowBytes);
      }
    call();
    source.forget(first, most);
  }
}

/// Stores the weights that an entry point takes whole.
static void packWhole(ParameterStore &store, const std::string &name,
                      const EntryPoint &entry, std::vector<Workspace> &spaces) {
  std::vector<ParameterSource> sources = readWeights(store, entry, spaces);
  Invocation call(store, name);
  std::vector<int32_t> lacking(entry.arguments.size(), 0);
  for (size_t i = 0; i < entry.arguments.size(); ++i) {
    const Argument &argument = entry.arguments[i];
    if (argument.kind != Argument::Kind::output)
      continue;
    if (argument.type != TensorType{ElementType::i32, {}})
      throw Error("the output \"" + argument.name + "\" of \"" + name +
                  "\" must be an i32: the bundle does not follow the "
                  "calling convention");
    call.bind(argument.name, &lacking[i]);
  }
  call();
  for (size_t i = 0; i < entry.arguments.size(); ++i)
    if (lacking[i])
      throw Error("the weight \"" + entry.arguments[i].name + "\" has " +
                  std::to_string(lacking[i]) +
                  " more elements that are not zero than the program has "
                  "room for: it was compiled for other weights; compile it "
                  "for these");
  // What was packed is not read again.
  for (const ParameterSource &source : sources) {
    source.forget(0, source.rows());
    store.forgetPacked(source.of());
  }
}

void pst::runtime::packWeights(ParameterStore &store) {
  std::vector<Workspace> spaces(1);
  for (const auto &[name, entry] : store.manifest().entryPoints) {
    if (!isPackEntry(name))
      continue;
    auto piece = std::ranges::find(entry.arguments, Argument::Kind::input,
                                   &Argument::kind);
    if (piece != entry.arguments.end())
      packPieces(store, name, *piece, spaces.front());
    else
      packWhole(store, name, entry, spaces);
  }
  // Pages on which a weight ends and the next one begins, and the headers.
  if (store.files())
    store.files()->forgetPages();
}
