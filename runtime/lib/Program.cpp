//===- Program.cpp - A compiled program and its entry points --------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Program.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <mutex>
#include <omp.h>
#include <pthread.h>
#include <sstream>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace pst;
using namespace pst::runtime;
namespace fs = std::filesystem;

//===----------------------------------------------------------------------===//
// Whether this machine can run the code
//===----------------------------------------------------------------------===//

#if defined(__x86_64__)
static constexpr std::string_view kArchitecture = "x86_64";

/// False only for a feature that this processor is known to lack.
static bool processorHas(std::string_view feature) {
#define PST_FEATURE(NAME)                                                      \
  if (feature == NAME)                                                         \
    return __builtin_cpu_supports(NAME);
  PST_FEATURE("sse4.1")
  PST_FEATURE("sse4.2")
  PST_FEATURE("popcnt")
  PST_FEATURE("avx")
  PST_FEATURE("avx2")
  PST_FEATURE("fma")
  PST_FEATURE("f16c")
  PST_FEATURE("bmi")
  PST_FEATURE("bmi2")
  PST_FEATURE("lzcnt")
  PST_FEATURE("movbe")
  PST_FEATURE("gfni")
  PST_FEATURE("vaes")
  PST_FEATURE("vpclmulqdq")
  PST_FEATURE("avxvnni")
  PST_FEATURE("avx512f")
  PST_FEATURE("avx512bw")
  PST_FEATURE("avx512cd")
  PST_FEATURE("avx512dq")
  PST_FEATURE("avx512vl")
  PST_FEATURE("avx512vnni")
  PST_FEATURE("avx512bf16")
  PST_FEATURE("avx512fp16")
  PST_FEATURE("avx512ifma")
  PST_FEATURE("avx512vbmi")
  PST_FEATURE("avx512vbmi2")
  PST_FEATURE("avx512bitalg")
  PST_FEATURE("avx512vpopcntdq")
#undef PST_FEATURE
  return true;
}
#else
#if defined(__aarch64__)
static constexpr std::string_view kArchitecture = "aarch64";
#else
static constexpr std::string_view kArchitecture = "";
#endif
static bool processorHas(std::string_view) { return true; }
#endif

static void checkMachine(const Manifest &manifest, const fs::path &bundle) {
  std::string_view triple = manifest.triple;
  std::string_view architecture = triple.substr(0, triple.find('-'));
  if (!architecture.empty() && !kArchitecture.empty() &&
      architecture != kArchitecture)
    throw Error(bundle.string() + ": compiled for " + manifest.triple +
                ", but this machine is " + std::string(kArchitecture) +
                ": compile the bundle for this machine");
  std::stringstream features(manifest.features);
  std::string missing;
  for (std::string feature; std::getline(features, feature, ',');)
    if (feature.starts_with('+') && !processorHas(feature.substr(1)))
      missing += (missing.empty() ? "" : ", ") + feature.substr(1);
  if (!missing.empty())
    throw Error(bundle.string() + ": compiled for the CPU " + manifest.cpu +
                ", but this processor lacks " + missing +
                ": compile the bundle for this machine");
}

/// Bytes of each parameter of the kernels in PTX, by kernel, from lines such as
///   .visible .entry relu(
///     .param .u64 .ptr .align 1 relu_param_0,
///     .param .align 64 .b8 relu_param_1[128]
///   )
static std::map<std::string, std::vector<int64_t>, std::less<>>
parametersOf(std::string_view ptx) {
  std::map<std::string, std::vector<int64_t>, std::less<>> kernels;
  constexpr std::string_view entry = ".entry ", parameter = ".param ";
  for (size_t at = ptx.find(entry); at != std::string_view::npos;
       at = ptx.find(entry, at)) {
    at += entry.size();
    size_t open = ptx.find('(', at), close = ptx.find(')', at);
    if (open > close || close == std::string_view::npos)
      break;
    std::string name(ptx.substr(at, ptx.find_first_of(" (\n", at) - at));
    std::vector<int64_t> &sizes = kernels[name];
    for (size_t p = ptx.find(parameter, open); p < close;
         p = ptx.find(parameter, p)) {
      p += parameter.size();
      std::string text(ptx.substr(p, std::min(ptx.find(',', p), close) - p));
      size_t type = text.starts_with(".align") ? text.find('.', 1) : 0;
      int64_t bytes = std::atoll(text.c_str() + type + 2) / 8;
      size_t count = text.find('[');
      sizes.push_back(count == std::string::npos
                          ? bytes
                          : bytes * std::atoll(text.c_str() + count + 1));
    }
  }
  return kernels;
}

/// Whether the PTX is of the manifest's architecture, and its kernels take what
/// the launches give them.
static void checkKernels(const Manifest &manifest, const std::string &kernels,
                         const std::string &where) {
  if (kernels.find(".target " + manifest.cpu) == std::string::npos)
    throw Error(where + ": the kernels are no PTX for " + manifest.cpu);
  auto known = parametersOf(kernels);
  for (const auto &[name, entry] : manifest.entryPoints)
    for (const Launch &launch : entry.launches) {
      if (launch.isCopy())
        continue;
      std::string kernel = "the kernel \"" + launch.kernel + "\"";
      auto found = known.find(launch.kernel);
      if (found == known.end())
        throw Error(where + ": lacks " + kernel + " of the entry point \"" +
                    name + "\"");
      const std::vector<int64_t> &sizes = found->second;
      if (sizes.size() != launch.arguments.size())
        throw Error(where + ": " + kernel + " has " +
                    std::to_string(sizes.size()) +
                    " parameters, but a launch gives " +
                    std::to_string(launch.arguments.size()));
      for (size_t i = 0; i < sizes.size(); ++i)
        if (sizes[i] != launch.arguments[i].bytes)
          throw Error(where + ": parameter " + std::to_string(i) + " of " +
                      kernel + " has " + std::to_string(sizes[i]) +
                      " bytes, but a launch gives " +
                      std::to_string(launch.arguments[i].bytes));
    }
}

//===----------------------------------------------------------------------===//
// Program
//===----------------------------------------------------------------------===//

/// The kernels take libomp and libm from the process. In a program linked to
/// both they are there; in a module of Python they are loaded, but out of
/// sight.
static void exposeLibraries() {
  for (const char *library : {"libomp.so.5", "libm.so.6"})
    ::dlopen(library, RTLD_LAZY | RTLD_GLOBAL | RTLD_NOLOAD);
}

/// libomp ends a process in which it cannot make as many threads as it was
/// told.
static constexpr int kMostThreads = 1024;

/// libomp reads OMP_NUM_THREADS when it is first called, and ends the process
/// over one that is empty, negative, or no number. Throws Error before.
static void checkEnvironment() {
  const char *text = std::getenv("OMP_NUM_THREADS");
  if (!text)
    return;
  // One number, or those of nested loops with commas between them.
  std::istringstream numbers(std::string(text) + ",");
  for (std::string number; std::getline(numbers, number, ',');) {
    size_t begin = std::min(number.find_first_not_of(" \t"), number.size());
    size_t end = std::min(number.find_first_of(" \t", begin), number.size());
    int count = 0;
    auto [rest, code] =
        std::from_chars(number.data() + begin, number.data() + end, count);
    if (code != std::errc() || rest != number.data() + end || count < 1 ||
        count > kMostThreads)
      throw Error("OMP_NUM_THREADS is \"" + std::string(text) +
                  "\", but must be a number of threads from 1 to " +
                  std::to_string(kMostThreads) + ": correct it, or unset it");
  }
}

/// libomp notes itself in shared memory under the process's number. What a
/// process that could not finish its note has left under the same number is
/// empty, and libomp reads it even so, which ends in SIGBUS: it is removed.
static void removeEmptyNote() {
  std::string name = "/__KMP_REGISTERED_LIB_" + std::to_string(::getpid()) +
                     "_" + std::to_string(::getuid());
  int file = ::shm_open(name.c_str(), O_RDONLY | O_CLOEXEC, 0);
  if (file < 0)
    return;
  struct stat state;
  if (::fstat(file, &state) == 0 && state.st_size == 0)
    ::shm_unlink(name.c_str());
  ::close(file);
}

/// What must be so before libomp is called for the first time. Throws Error.
static void prepareForOpenMP() {
  checkEnvironment();
  removeEmptyNote();
}

static void *waitForLock(void *lock) {
  std::lock_guard held(*static_cast<std::mutex *>(lock));
  return nullptr;
}

/// Makes so many threads at once as libomp would, with its stacks: where the
/// system refuses, libomp ends the process. Throws Error before.
static void tryThreads(int count) {
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  int code = ::pthread_attr_setstacksize(&attributes, ::kmp_get_stacksize_s());
  std::vector<pthread_t> threads;
  {
    std::mutex lock;
    std::unique_lock held(lock);
    for (int i = 1; i < count && code == 0; ++i) {
      pthread_t thread;
      code = ::pthread_create(&thread, &attributes, waitForLock, &lock);
      if (code == 0)
        threads.push_back(thread);
    }
    held.unlock();
    for (pthread_t thread : threads)
      ::pthread_join(thread, nullptr);
  }
  ::pthread_attr_destroy(&attributes);
  if (code != 0)
    throw Error("the system makes no " + std::to_string(count) +
                " threads with stacks of " +
                std::to_string(::kmp_get_stacksize_s() >> 10) +
                " KiB: " + std::strerror(code) +
                "; ask for fewer (--num_threads, OMP_NUM_THREADS), or for "
                "smaller stacks (OMP_STACKSIZE)");
}

/// Whether there can be as many threads as programs will be run by.
static void checkThreads() {
  prepareForOpenMP();
  if (::omp_get_max_threads() > kMostThreads)
    throw Error(
        "OMP_NUM_THREADS asks for " + std::to_string(::omp_get_max_threads()) +
        " threads, of which there are at most " + std::to_string(kMostThreads) +
        ": make it smaller, or unset it");
  tryThreads(::omp_get_max_threads());
}

/// Lets threads that have nothing to do sleep after a millisecond, not after
/// libomp's 200: between two parts of a program less passes, and after it the
/// cores are another library's. What the environment says goes before it.
static void shortenWaiting() {
  static std::once_flag once;
  std::call_once(once, [] {
    for (const char *name : {"OMP_WAIT_POLICY", "KMP_BLOCKTIME", "KMP_LIBRARY"})
      if (std::getenv(name))
        return;
    // Of threads that are to call programs, and of this one, which libomp knows
    // already.
    ::kmp_set_defaults("KMP_BLOCKTIME=1");
    ::kmp_set_blocktime(1);
  });
}

std::shared_ptr<const Program> Program::load(const fs::path &directory) {
  fs::path file = directory / "manifest.json";
  if (!isNamed(file))
    throw Error(directory.string() +
                ": not a bundle: it holds no manifest.json");
  auto program = std::shared_ptr<Program>(new Program);
  try {
    program->description = Manifest::fromJson(readFile(file));
  } catch (const ManifestError &error) {
    throw Error(file.string() + ": " + error.what());
  }
  const Manifest &manifest = program->description;
  if (manifest.library.empty() ||
      fs::path(manifest.library).filename() != manifest.library)
    throw Error(file.string() +
                ": \"library\" must name a file of the bundle, "
                "but is \"" +
                manifest.library + "\"");
  fs::path library = fs::absolute(directory / manifest.library);
  if (!isNamed(library))
    throw Error(library.string() + ": the bundle lacks this file");
  if (manifest.isForGPU()) {
    program->kernels = readFile(library);
    checkKernels(manifest, program->kernels, library.string());
    return program;
  }
  checkMachine(manifest, directory);
  checkThreads();
  shortenWaiting();
  exposeLibraries();
  void *handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    throw Error(directory.string() + ": cannot load the code: " + ::dlerror());
  program->code = std::shared_ptr<const void>(
      handle, [](const void *code) { ::dlclose(const_cast<void *>(code)); });
  for (const auto &[name, entry] : manifest.entryPoints) {
    void *symbol = ::dlsym(handle, entry.symbol.c_str());
    if (!symbol)
      throw Error(library.string() + ": lacks the symbol \"" + entry.symbol +
                  "\" of the entry point \"" + name + "\"");
    program->functions[name] = reinterpret_cast<EntryFunction>(symbol);
  }
  return program;
}

std::shared_ptr<const Program>
Program::create(Manifest manifest,
                std::map<std::string, EntryFunction> functions,
                std::shared_ptr<const void> code) {
  try {
    manifest.verify();
  } catch (const ManifestError &error) {
    throw Error(error.what());
  }
  checkThreads();
  shortenWaiting();
  auto program = std::shared_ptr<Program>(new Program);
  for (const auto &[name, entry] : manifest.entryPoints) {
    auto found = functions.find(name);
    if (found == functions.end() || !found->second)
      throw Error("the program has no function for its entry point \"" + name +
                  "\"");
    program->functions[name] = found->second;
  }
  program->description = std::move(manifest);
  program->code = std::move(code);
  return program;
}

std::shared_ptr<const Program> Program::createForGPU(Manifest manifest,
                                                     std::string kernels) {
  try {
    manifest.verify();
  } catch (const ManifestError &error) {
    throw Error(error.what());
  }
  checkKernels(manifest, kernels, "the program");
  auto program = std::shared_ptr<Program>(new Program);
  program->description = std::move(manifest);
  program->kernels = std::move(kernels);
  return program;
}

bool Program::has(std::string_view entry) const {
  return description.findEntryPoint(entry) != nullptr;
}

const EntryPoint &Program::entryPoint(std::string_view entry) const {
  if (const EntryPoint *found = description.findEntryPoint(entry))
    return *found;
  std::string names;
  for (const auto &[name, ignored] : description.entryPoints)
    names += (names.empty() ? "" : ", ") + name;
  throw Error("the program has no entry point \"" + std::string(entry) +
              "\" (it has: " + (names.empty() ? "none" : names) + ")");
}

EntryFunction Program::function(std::string_view entry) const {
  entryPoint(entry);
  if (description.isForGPU())
    throw Error("the entry point \"" + std::string(entry) +
                "\" is for a GPU, and no function");
  return functions.find(entry)->second;
}

void pst::runtime::setNumThreads(int count) {
  prepareForOpenMP();
  if (count < 0 || count > kMostThreads)
    throw Error("the number of threads must lie between 0 and " +
                std::to_string(kMostThreads) + ", but is " +
                std::to_string(count) + "; this machine has " +
                std::to_string(::omp_get_num_procs()) + " processors");
  if (count == 0)
    return;
  tryThreads(count);
  ::omp_set_num_threads(count);
}

int pst::runtime::numThreads() {
  prepareForOpenMP();
  return ::omp_get_max_threads();
}
