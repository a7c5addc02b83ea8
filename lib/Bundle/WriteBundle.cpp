//===- WriteBundle.cpp - A bundle on disk ---------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/WriteBundle.h"
#include "Beside.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace pst;

namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

static std::error_code writeFile(StringRef file, StringRef text) {
  std::error_code error;
  llvm::raw_fd_ostream stream(file, error);
  if (error)
    return error;
  stream << text;
  stream.close();
  error = stream.error();
  stream.clear_error();
  return error;
}

/// Links the objects into a shared library. libomp and libm come from the
/// process that loads it.
static LogicalResult link(ArrayRef<std::string> objects, StringRef library,
                          Location loc) {
  std::string linker = findBeside("ld.lld");
  for (const char *name : {"ld.lld-22", "ld.lld", "ld"}) {
    auto found = llvm::sys::findProgramByName(name);
    if (!found)
      found = llvm::sys::findProgramByName(name, {"/usr/lib/llvm-22/bin"});
    if (found && linker.empty())
      linker = *found;
  }
  if (linker.empty())
    return emitError(loc)
           << "no linker found: a bundle needs ld.lld-22, ld.lld "
              "or ld on the PATH (Debian: apt install lld-22)";
  std::string message;
  SmallVector<StringRef> arguments{linker, "-shared", "--build-id=none", "-o",
                                   library};
  llvm::append_range(arguments, objects);
  // What it says is kept: of a full disk it tells in a dump of its stack.
  std::string said = (library + ".linker").str();
  std::optional<StringRef> redirects[] = {std::nullopt, StringRef(said),
                                          StringRef(said)};
  int code = llvm::sys::ExecuteAndWait(linker, arguments, std::nullopt,
                                       redirects, 0, 0, &message);
  if (code != 0) {
    if (auto text = llvm::MemoryBuffer::getFile(said))
      for (StringRef line : llvm::split((*text)->getBuffer(), '\n'))
        if (line.contains("error:"))
          message += (message.empty() ? "" : "; ") + line.str();
    fs::remove(said);
    return emitError(loc) << linker << " failed with status " << code
                          << (message.empty() ? "" : ": ") << message;
  }
  fs::remove(said);
  return success();
}

LogicalResult pst::writeLibrary(ArrayRef<std::string> objects, StringRef file,
                                Location loc) {
  std::vector<std::string> parts;
  for (const auto &[i, object] : llvm::enumerate(objects)) {
    parts.push_back((file + ".part" + Twine(i) + ".o").str());
    if (std::error_code error = writeFile(parts.back(), object))
      return emitError(loc)
             << "cannot write '" << parts.back() << "': " << error.message();
  }
  LogicalResult linked = link(parts, file, loc);
  for (const std::string &part : parts)
    fs::remove(part);
  return linked;
}

LogicalResult pst::verifyBundlePlace(StringRef directory, Location loc) {
  StringRef target = directory.rtrim('/');
  if (target.empty())
    return emitError(loc) << "a bundle needs a directory to be written to";
  auto refuse = [&](const Twine &why) {
    return emitError(loc) << "cannot write the bundle '" << target
                          << "': " << why;
  };
  if (fs::exists(target) && !fs::exists(target + "/manifest.json"))
    return refuse("it exists and is no bundle; name another directory, or "
                  "remove it");
  // Directories above it are made; the first that is there takes them.
  SmallString<128> above(target);
  if (std::error_code error = fs::make_absolute(above))
    return refuse(error.message());
  do
    path::remove_filename(above);
  while (!above.empty() && !fs::exists(above));
  if (!fs::is_directory(above))
    return refuse("'" + above.str() + "' is no directory");
  if (fs::access(above, fs::AccessMode::Write))
    return refuse("no permission to write in '" + above.str() + "'");
  return success();
}

LogicalResult pst::writeBundle(const CompiledProgram &program,
                               StringRef directory, Location loc) {
  if (failed(verifyBundlePlace(directory, loc)))
    return failure();
  std::string target = directory.rtrim('/').str();
  std::string aside =
      target + ".partial-" + std::to_string(llvm::sys::Process::getProcessId());
  auto fail = [&](const Twine &what, std::error_code error) {
    fs::remove_directories(aside);
    return emitError(loc) << "cannot write the bundle '" << target
                          << "': " << what << ": " << error.message();
  };
  auto in = [&](StringRef name) {
    SmallString<128> file(aside);
    path::append(file, name);
    return std::string(file);
  };
  if (std::error_code error = fs::create_directories(aside))
    return fail("creating " + aside, error);
  Manifest manifest = program.manifest;
  if (manifest.isForGPU()) {
    manifest.library = "kernels." + manifest.cpu + ".ptx";
    if (std::error_code error =
            writeFile(in(manifest.library), program.objects.front()))
      return fail(manifest.library, error);
  } else {
    manifest.library = "kernels.so";
    if (failed(writeLibrary(program.objects, in(manifest.library), loc))) {
      fs::remove_directories(aside);
      return failure();
    }
  }
  if (std::error_code error =
          writeFile(in("manifest.json"), manifest.toJson() + "\n"))
    return fail("manifest.json", error);
  if (std::error_code error = fs::remove_directories(target))
    return fail("replacing what is there", error);
  if (std::error_code error = fs::rename(aside, target))
    return fail("renaming " + aside, error);
  return success();
}
