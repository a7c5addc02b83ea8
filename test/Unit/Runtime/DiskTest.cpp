//===- DiskTest.cpp - Disks that are full, limited, or read only ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each case runs in a child process, whose limits, user and mounts may be
// changed; it reports by its exit status.
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Export.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <csignal>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;
namespace fs = std::filesystem;

namespace {

constexpr int kSkipped = 77;

/// Runs `action` in a child; returns its exit status. An exception is 1.
int inChild(const std::function<int()> &action) {
  pid_t child = ::fork();
  if (child == 0) {
    int status = 1;
    try {
      status = action();
    } catch (const std::exception &error) {
      std::fprintf(stderr, "child: %s\n", error.what());
    }
    ::_exit(status);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// 0 if `text` has every part; else says what it is.
int expectParts(const std::string &text,
                const std::vector<std::string> &parts) {
  for (const std::string &part : parts)
    if (text.find(part) == std::string::npos) {
      std::fprintf(stderr, "expected \"%s\" in: %s\n", part.c_str(),
                   text.c_str());
      return 2;
    }
  return 0;
}

class DiskTest : public ::testing::Test {
protected:
  DiskTest() {
    writeModel(directory / "model");
    options.maxSteps = 12;
    options.learningRate = 0.02;
    options.loggingSteps = 100;
    options.saveStrategy = Interval::steps;
    options.saveSteps = 1;
  }
  TrainingResult train(const fs::path &output, int64_t stopAfter = -1) {
    auto model = makeModel(directory / "model");
    TrainingOptions all = options;
    all.outputDir = output;
    all.resumeFromCheckpoint = "last";
    TrainingCallbacks callbacks;
    int64_t steps = 0;
    callbacks.onStep = [&](const StepRecord &record) { steps = record.step; };
    callbacks.shouldStop = [&] { return steps == stopAfter; };
    return Trainer(*model, all, makeData(23), std::nullopt, callbacks).train();
  }
  /// Whether all checkpoints load, and nothing unfinished lies about.
  bool isWhole(const fs::path &run) {
    auto model = makeModel(directory / "model");
    for (const auto &[step, path] : listCheckpoints(run))
      if (loadCheckpoint(path, *model).step != step)
        return false;
    for (const auto &entry : fs::directory_iterator(run))
      if (entry.path().filename().string().find(".pst-tmp-") !=
          std::string::npos)
        return false;
    return true;
  }

  TemporaryDirectory directory;
  TrainingOptions options;
};

} // namespace

TEST_F(DiskTest, ALimitOnFileSizesIsAnErrorAndLosesNothing) {
  fs::path run = directory / "run", whole = directory / "whole";
  train(whole);
  train(run, 4);
  int status = inChild([&] {
    // trainable.safetensors fits, optimizer.safetensors does not.
    ::signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    return expectParts(errorOf([&] { train(run); }),
                       {"checkpoint-5: cannot save the checkpoint (those "
                        "before it are untouched)",
                        "optimizer.safetensors: cannot write: File too large",
                        "ulimit -f"});
  });
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(isWhole(run));
  EXPECT_EQ(listCheckpoints(run).back().first, 4);
  train(run);
  EXPECT_EQ(readAll(run / "checkpoint-12"), readAll(whole / "checkpoint-12"));
}

TEST_F(DiskTest, AFullDiskIsAnErrorAndLosesNothing) {
  fs::path whole = directory / "whole", disk = directory / "disk";
  train(whole);
  fs::create_directories(disk);
  int status = inChild([&] {
    // A disk of its own, of 160 KiB: a checkpoint takes 20.
    if (::unshare(::geteuid() == 0 ? CLONE_NEWNS
                                   : CLONE_NEWNS | CLONE_NEWUSER) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", disk.c_str(), "tmpfs", 0, "size=160k") != 0)
      return kSkipped;
    fs::path run = disk / "run";
    int failed = expectParts(errorOf([&] { train(run); }),
                             {"cannot save the checkpoint",
                              "No space left on device", "free some space"});
    if (failed)
      return failed;
    auto checkpoints = listCheckpoints(run);
    if (checkpoints.size() < 3 || checkpoints.size() > 11 || !isWhole(run))
      return 3;
    // The mapped writer reserves its blocks, or writing would raise SIGBUS.
    auto model = makeModel(directory / "model");
    failed =
        expectParts(errorOf([&] {
                      MappedSafeTensorsWriter(disk / "x.safetensors",
                                              {{"a", DType::F32, {40000}}});
                    }),
                    {"x.safetensors: cannot write: No space left on device"});
    if (failed || fs::exists(disk / "x.safetensors"))
      return 4;
    ExportOptions exporting;
    exporting.outputDir = disk / "model";
    writeBytes(disk / "rest", std::string(200000, 'x'));
    failed = expectParts(errorOf([&] { exportModel(*model, 0.5, exporting); }),
                         {"No space left on device"});
    if (failed || fs::exists(disk / "model"))
      return 5;
    fs::remove(disk / "rest");
    // With some space freed, the run goes on to the same end.
    for (size_t i = 0; i + 1 < checkpoints.size(); ++i)
      removeCheckpoint(checkpoints[i].second);
    options.saveTotalLimit = 2;
    train(run);
    return readAll(run / "checkpoint-12") == readAll(whole / "checkpoint-12")
               ? 0
               : 6;
  });
  if (status == kSkipped)
    GTEST_SKIP() << "a file system of one's own may not be mounted here";
  EXPECT_EQ(status, 0);
}

TEST_F(DiskTest, ADirectoryThatMayNotBeWrittenIsAnError) {
  fs::path locked = directory / "locked";
  fs::create_directories(locked / "run");
  for (const fs::path &path : {locked / "run", locked})
    ::chmod(path.c_str(), 0555);
  ::chmod(directory.path().c_str(), 0755);
  int status = inChild([&] {
    // Root may write anywhere.
    if (::geteuid() == 0 && ::seteuid(65534) != 0)
      return kSkipped;
    int failed = expectParts(errorOf([&] { train(locked / "run"); }),
                             {"log.jsonl: cannot open: Permission denied; "
                              "choose a directory that you may write to"});
    if (failed)
      return failed;
    failed = expectParts(errorOf([&] { train(locked / "other"); }),
                         {"other: cannot make the output directory: "
                          "Permission denied"});
    if (failed)
      return failed;
    auto model = makeModel(directory / "model");
    ExportOptions exporting;
    exporting.outputDir = locked / "model";
    return expectParts(errorOf([&] { exportModel(*model, 0.5, exporting); }),
                       {"locked/model: cannot make the directory: Permission "
                        "denied"});
  });
  for (const fs::path &path : {locked, locked / "run"})
    ::chmod(path.c_str(), 0755);
  if (status == kSkipped)
    GTEST_SKIP() << "the user cannot be changed";
  EXPECT_EQ(status, 0);
}

TEST_F(DiskTest, AnOutputDirectoryThatIsAFileIsAnError) {
  writeBytes(directory / "file", "x");
  EXPECT_ERROR(train(directory / "file"), "cannot make the output directory");
  EXPECT_ERROR(train(directory / "file" / "run"),
               "cannot make the output directory");
}
