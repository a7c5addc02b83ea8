//===- CacheEntry.cpp - A compiled program as the cache keeps it ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An input is an entry without its digest, which is put in front of it, so that
// what the digest covers is read. Of the program that comes out the manifest
// holds; its objects are nobody's but the linker's.
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"
#include "pst/Bundle/ProgramCache.h"
#include "llvm/Support/BLAKE3.h"

using namespace pst;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const std::string directory = fuzz::directory() / "cache";
  static const bool made = std::filesystem::create_directories(directory);
  (void)made;
  const ProgramCache cache(directory);
  auto digest = llvm::BLAKE3::hash<32>(llvm::ArrayRef(data, size));
  for (const std::string &text :
       {fuzz::text(data, size),
        fuzz::text(digest.data(), digest.size()) + fuzz::text(data, size)}) {
    tiny::writeBytes(std::filesystem::path(directory) / "llvmcache-key", text);
    std::optional<CompiledProgram> program = cache.find("key");
    if (!program)
      continue;
    // It is what would be written again.
    std::string again = program->manifest.toJson();
    if (Manifest::fromJson(again).toJson() != again)
      __builtin_trap();
  }
  return 0;
}
