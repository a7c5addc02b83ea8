//===- ProgramCacheTest.cpp - What the cache keeps, and for how long ------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/ProgramCache.h"
#include <atomic>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <thread>

using namespace pst;
namespace fs = std::filesystem;

namespace {

struct ProgramCacheTest : testing::Test {
  void SetUp() override {
    std::string name = testing::TempDir() + "pst-program-cache-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory = fs::path(name) / "below" / "it";
  }
  void TearDown() override {
    fs::remove_all(directory.parent_path().parent_path());
  }

  /// A program whose objects hold `size` bytes of `byte`, zeros among them.
  static CompiledProgram program(char byte, size_t size) {
    CompiledProgram program;
    program.manifest.cpu = std::string("cpu") + byte;
    program.manifest.method = "pst";
    program.manifest.hyperparameters = {{"beta", 0.1}, {"alpha1", 1.0 / 3}};
    program.objects = {std::string(size, byte), std::string("\0a\n", 3)};
    return program;
  }
  static bool isProgram(const CompiledProgram &found, char byte, size_t size) {
    CompiledProgram expected = program(byte, size);
    return found.objects == expected.objects &&
           found.manifest.toJson() == expected.manifest.toJson();
  }
  static void keep(const ProgramCache &cache, llvm::StringRef key, char byte,
                   size_t size = 100) {
    llvm::Error error = cache.store(key, program(byte, size));
    EXPECT_FALSE(static_cast<bool>(error));
    llvm::consumeError(std::move(error));
  }
  static bool holds(const ProgramCache &cache, llvm::StringRef key, char byte,
                    size_t size = 100) {
    std::optional<CompiledProgram> found = cache.find(key);
    return found && isProgram(*found, byte, size);
  }
  fs::path onlyFile() const {
    std::vector<fs::path> files;
    for (const auto &entry : fs::directory_iterator(directory))
      if (entry.path().filename().string().find("llvmcache-") == 0)
        files.push_back(entry.path());
    EXPECT_EQ(files.size(), 1u);
    return files.front();
  }

  fs::path directory;
};

TEST_F(ProgramCacheTest, GivesBackWhatItWasGiven) {
  ProgramCache cache(directory);
  EXPECT_FALSE(cache.find("key"));
  keep(cache, "key", 'x');
  EXPECT_TRUE(holds(cache, "key", 'x'));
  EXPECT_FALSE(cache.find("other"));
  keep(cache, "key", 'y');
  EXPECT_TRUE(holds(cache, "key", 'y'));
  onlyFile();
}

TEST_F(ProgramCacheTest, EveryDamagedByteIsSeen) {
  ProgramCache cache(directory);
  keep(cache, "key", 'x', 7);
  fs::path file = onlyFile();
  auto size = fs::file_size(file);
  for (uintmax_t at = 0; at < size; at += 3) {
    keep(cache, "key", 'x', 7);
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(at);
    char byte = static_cast<char>(stream.get() ^ 1);
    stream.seekp(at);
    stream.put(byte);
    stream.close();
    EXPECT_FALSE(cache.find("key")) << "byte " << at;
  }
  for (uintmax_t left : {uintmax_t(0), uintmax_t(31), size / 2, size - 1}) {
    keep(cache, "key", 'x', 7);
    fs::resize_file(file, left);
    EXPECT_FALSE(cache.find("key")) << left << " bytes left";
  }
  keep(cache, "key", 'x', 7);
  EXPECT_TRUE(holds(cache, "key", 'x', 7));
}

TEST_F(ProgramCacheTest, AFileUnderAnotherNameIsNotTaken) {
  ProgramCache cache(directory);
  keep(cache, "one", 'x');
  fs::path file = onlyFile();
  fs::rename(file, file.parent_path() / "llvmcache-two");
  EXPECT_FALSE(cache.find("two"));
}

TEST_F(ProgramCacheTest, WhatWasNotUsedForLongestGoesFirst) {
  ProgramCache all(directory), two(directory, 25000);
  auto later = [&](llvm::StringRef key, int64_t seconds) {
    fs::path file = directory / ("llvmcache-" + key.str());
    timespec times[2] = {{1700000000 + seconds, 0}, {1700000000 + seconds, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  };
  keep(all, "a", 'a', 10000);
  later("a", 0);
  keep(all, "b", 'b', 10000);
  later("b", 10);
  EXPECT_TRUE(holds(all, "a", 'a', 10000)); // used now
  keep(two, "c", 'c', 10000);
  EXPECT_TRUE(holds(all, "a", 'a', 10000));
  EXPECT_FALSE(all.find("b"));
  EXPECT_TRUE(holds(all, "c", 'c', 10000));
}

TEST_F(ProgramCacheTest, ADirectoryThatCannotBeMadeIsAnErrorThatNamesIt) {
  fs::create_directories(directory.parent_path());
  std::ofstream(directory) << "a file";
  ProgramCache cache((directory / "cache").string());
  EXPECT_FALSE(cache.find("key"));
  std::string message = llvm::toString(cache.store("key", program('x', 3)));
  EXPECT_NE(message.find((directory / "cache").string()), std::string::npos);
  EXPECT_NE(message.find("PST_CACHE_DIR"), std::string::npos);
}

TEST_F(ProgramCacheTest, SeveralMayReadAndWriteAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int id = 0; id < 4; ++id)
    threads.emplace_back([&, id] {
      ProgramCache cache(directory, 60000); // room for about half of them
      for (int i = 0; i < 25; ++i) {
        std::string key = "key" + std::to_string((id + i) % 5);
        if (llvm::Error error = cache.store(key, program(key.back(), 20000))) {
          llvm::consumeError(std::move(error));
          ++wrong;
        }
        std::optional<CompiledProgram> found = cache.find(key);
        if (found && !isProgram(*found, key.back(), 20000))
          ++wrong;
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ProgramCacheDirectory, IsNamedByTheEnvironment) {
  const char *kNames[] = {"PST_CACHE_DIR", "XDG_CACHE_HOME", "HOME"};
  std::map<std::string, std::optional<std::string>> before;
  for (const char *name : kNames)
    before[name] = std::getenv(name)
                       ? std::optional<std::string>(std::getenv(name))
                       : std::nullopt;
  setenv("PST_CACHE_DIR", "/named", 1);
  setenv("XDG_CACHE_HOME", "/xdg", 1);
  setenv("HOME", "/home/me", 1);
  EXPECT_EQ(ProgramCache::defaultDirectory(), "/named");
  unsetenv("PST_CACHE_DIR");
  EXPECT_EQ(ProgramCache::defaultDirectory(), "/xdg/pst");
  unsetenv("XDG_CACHE_HOME");
  EXPECT_EQ(ProgramCache::defaultDirectory(), "/home/me/.cache/pst");
  for (const auto &[name, value] : before)
    value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
}

} // namespace
