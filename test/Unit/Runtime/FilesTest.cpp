//===- FilesTest.cpp - Files that are odd, change, or go away -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Files.h"
#include "TinyProgram.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Export.h"
#include "pst/Runtime/MappedFile.h"
#include "pst/Runtime/SafeTensorsWriter.h"
#include "pst/Runtime/Trainer.h"

#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace pst::runtime;
using namespace tiny;
namespace fs = std::filesystem;

TEST(FilesTest, OnlyRegularFilesAreRead) {
  TemporaryDirectory directory;
  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  fs::create_symlink("/dev/zero", directory / "device");
  fs::create_symlink("loop", directory / "loop");
  EXPECT_ERROR(readFile(directory / "pipe"), "pipe: not a regular file");
  EXPECT_ERROR(readFile(directory / "device"), "device: not a regular file");
  EXPECT_ERROR(readFile(directory / "loop"),
               "loop: cannot read: Too many levels of symbolic links");
  EXPECT_ERROR(readFile(directory.path()), ": cannot read: Is a directory");
  EXPECT_ERROR(readFile(directory / "gone"), "gone: cannot read: No such file");
  EXPECT_TRUE(isNamed(directory / "loop"));
  EXPECT_FALSE(isNamed(directory / "gone"));
  for (const char *name : {"pipe", "device"})
    EXPECT_ERROR(MappedFile(directory / name), ": not a regular file");
  EXPECT_ERROR(MappedFile(directory.path()), ": not a regular file");
}

TEST(FilesTest, FilesAreReadUpToASize) {
  TemporaryDirectory directory;
  std::string text(200'001, 'x');
  writeBytes(directory / "file", text);
  EXPECT_EQ(readFile(directory / "file"), text);
  EXPECT_EQ(readFile(directory / "file", 200'001), text);
  EXPECT_ERROR(readFile(directory / "file", 200'000),
               "has more than the 200000 bytes that are read of such a file");
  // One whose size is not known before: every file of /proc has 0.
  EXPECT_FALSE(readFile("/proc/self/maps").empty());
  EXPECT_ERROR(readFile("/proc/self/maps", 10), "has more than the 10 bytes");
}

TEST(FilesTest, PipesDevicesAndLinksAreNotReplaced) {
  TemporaryDirectory directory;
  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  int reader = ::open((directory / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  writeFile(directory / "pipe", "text");
  char buffer[8];
  EXPECT_EQ(::read(reader, buffer, sizeof buffer), 4);
  ::close(reader);
  EXPECT_TRUE(fs::is_fifo(directory / "pipe"));

  fs::create_symlink("/dev/full", directory / "full");
  EXPECT_ERROR(writeFile(directory / "full", "text"),
               "full: cannot write: No space left on device");
  EXPECT_TRUE(fs::is_character_file(directory / "full"));

  writeBytes(directory / "file", "before");
  fs::create_symlink("file", directory / "link");
  writeFile(directory / "link", "after");
  EXPECT_TRUE(fs::is_symlink(directory / "link"));
  EXPECT_EQ(readBytes(directory / "file"), "after");
  EXPECT_ERROR(writeFile(directory.path(), "text"), "Is a directory");
  EXPECT_ERROR(writeSafeTensors(directory / "pipe", {}),
               "pipe: exists, and is no regular file");
}

TEST(FilesTest, AMappedFileTellsThatItBecameShorter) {
  TemporaryDirectory directory;
  writeBytes(directory / "file", std::string(10'000, 'x'));
  MappedFile file(directory / "file");
  ASSERT_EQ(file.size(), 10'000u);
  file.requireWhole();
  std::ofstream(directory / "file", std::ios::app) << "more";
  file.requireWhole();
  fs::resize_file(directory / "file", 9'999);
  EXPECT_ERROR(file.requireWhole(),
               "file: the file became shorter while it was in use: it had "
               "10000 bytes, and has 9999");
  // Replaced, not cut: what is mapped stays.
  writeBytes(directory / "other", "");
  fs::resize_file(directory / "file", 10'000);
  fs::rename(directory / "other", directory / "file");
  file.requireWhole();
}

TEST(FilesTest, AProgramTellsOfALostFileBeforeItEnds) {
  TemporaryDirectory directory;
  writeBytes(directory / "file", std::string(10'000, 'x'));
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe[1], STDERR_FILENO);
    tellOfLostFiles("program");
    MappedFile file(directory / "file");
    fs::resize_file(directory / "file", 0);
    volatile std::byte first = file.data()[0];
    ::_exit(static_cast<int>(first));
  }
  ::close(pipe[1]);
  int status = 0;
  ::waitpid(child, &status, 0);
  char text[1000];
  ssize_t count = ::read(pipe[0], text, sizeof text);
  ::close(pipe[0]);
  ASSERT_GT(count, 0);
  EXPECT_EQ(std::string(text, count),
            "program: error: " + (directory / "file").string() +
                ": the file became shorter while it was in use, or its disk "
                "failed; checkpoints written before are whole\n");
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

TEST(FilesTest, AModelWhoseFileBecameShorterIsNotUsed) {
  if (!tiny::kReadsFrozenInPlace)
    GTEST_SKIP() << "under the address sanitizer a model is not its file";
  TemporaryDirectory directory;
  writeModel(directory / "model");
  auto model = makeModel(directory / "model");
  fs::path file = directory / "model" / "model.safetensors";
  auto size = fs::file_size(file);
  fs::resize_file(file, size - 1);
  EXPECT_ERROR(
      model->select(0.5),
      "model.safetensors: the file became shorter while it was in use");
  EXPECT_ERROR(exportModel(*model, 0.5, {directory / "out", false, ""}),
               "the file became shorter");
  EXPECT_FALSE(fs::exists(directory / "out"));
}

TEST(FilesTest, AnOutputDirectoryThatGoesAwayIsAnError) {
  TemporaryDirectory directory;
  writeModel(directory / "model");
  auto model = makeModel(directory / "model");
  TrainingOptions options;
  options.outputDir = directory / "run";
  options.maxSteps = 6;
  options.saveStrategy = Interval::no;
  TrainingCallbacks callbacks;
  callbacks.onStep = [&](const StepRecord &record) {
    if (record.step == 3)
      fs::remove_all(directory / "run");
  };
  auto train = [&] {
    Trainer(*model, options, makeData(23), std::nullopt, callbacks).train();
  };
  EXPECT_ERROR(train(), "the output directory was removed, moved or replaced "
                        "during the run, with its log and checkpoints; the "
                        "state of step 6 was saved anew: ");
  EXPECT_EQ(loadCheckpoint(directory / "run" / "checkpoint-6", *model).step, 6);

  // Of another directory in its place, nothing is known.
  callbacks.onStep = [&](const StepRecord &record) {
    if (record.step != 3)
      return;
    fs::rename(directory / "run", directory / "moved");
    fs::create_directory(directory / "run");
  };
  options.overwriteOutputDir = true;
  EXPECT_ERROR(train(), "what lies there now is left alone");
  EXPECT_TRUE(fs::is_empty(directory / "run"));
}

TEST(FilesTest, AnExportTargetIsCheckedBeforehand) {
  TemporaryDirectory directory;
  writeModel(directory / "model");
  auto model = makeModel(directory / "model");
  auto check = [&](const char *name) {
    checkExportTarget(*model, {directory / name, true, ""});
  };
  check("gone");
  writeBytes(directory / "file", "");
  EXPECT_ERROR(check("file"), "file: exists, and is no directory");
  fs::create_symlink("loop", directory / "loop");
  EXPECT_ERROR(check("loop"), "loop: exists, and is no directory");
  EXPECT_ERROR(check("model"), "is the directory of the pretrained model");
  fs::create_directory(directory / "mine");
  check("mine");
  writeBytes(directory / "mine" / "thesis.txt", "");
  EXPECT_ERROR(check("mine"), "is not an exported model");
}
