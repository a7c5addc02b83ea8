//===- BuildId.cpp - Which compiler this is -------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SourceHash.h"
#include "pst/Bundle/ProgramCache.h"
#include "llvm/ADT/StringExtras.h"

#include <cstring>
#include <link.h>

using llvm::StringRef;

/// Adds the GNU build id of `library` to `*text`, if it is LLVM or MLIR, or
/// what a wheel has of both. A package's update may change the code of a shared
/// library under its old name.
static int addBuildId(dl_phdr_info *library, size_t, void *text) {
  StringRef name = library->dlpi_name;
  if (!name.contains("libLLVM") && !name.contains("libMLIR") &&
      !name.contains("libpst-llvm"))
    return 0;
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    const auto &segment = library->dlpi_phdr[i];
    if (segment.p_type != PT_NOTE)
      continue;
    StringRef notes(
        reinterpret_cast<const char *>(library->dlpi_addr + segment.p_vaddr),
        segment.p_memsz);
    while (notes.size() >= sizeof(ElfW(Nhdr))) {
      ElfW(Nhdr) note;
      std::memcpy(&note, notes.data(), sizeof(note));
      size_t nameBytes = llvm::alignTo(note.n_namesz, 4);
      StringRef content = notes.drop_front(sizeof(note) + nameBytes);
      if (note.n_type == NT_GNU_BUILD_ID &&
          notes.substr(sizeof(note), 3) == "GNU")
        static_cast<std::string *>(text)->append(
            " " + llvm::toHex(content.take_front(note.n_descsz)));
      notes = content.drop_front(llvm::alignTo(note.n_descsz, 4));
    }
  }
  return 0;
}

std::string pst::compilerBuildId() {
  std::string text = PST_SOURCE_HASH;
  dl_iterate_phdr(addBuildId, &text);
  return text;
}
