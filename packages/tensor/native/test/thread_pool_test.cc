// The thread pool: every item once and in rising order, nesting, several callers, exceptions,
// changes of size, fork and exit.
#include "engine/thread_pool.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "engine/error.h"

namespace fms_accel {
namespace {

int failures = 0;
void expect(bool condition, const char* what) {
  if (condition) return;
  ++failures;
  printf("FAILED %s\n", what);
}

// Runs `items` items; true when each ran exactly once on a valid thread.
bool each_runs_once(int64_t items) {
  std::vector<std::atomic<int>> runs(static_cast<size_t>(items));
  std::atomic<bool> valid{true};
  parallel_for(items, [&](int64_t item, int thread) {
    if (thread < 0 || thread >= num_threads() || thread != current_thread() ||
        usable_threads() != 1)
      valid = false;
    ++runs[static_cast<size_t>(item)];
  });
  for (const auto& count : runs) valid = valid && count == 1;
  return valid;
}

void sizes() {
  for (int threads : {1, 2, 3, 8, 1, 4}) {
    set_num_threads(threads);
    expect(num_threads() == threads, "num_threads is what was set");
    for (int64_t items : {0, 1, 2, 3, 7, 64, 1000})
      expect(each_runs_once(items), "each item runs once");
  }
  for (int wrong : {0, -1, 1025}) {
    bool thrown = false;
    try {
      set_num_threads(wrong);
    } catch (const Error&) {
      thrown = true;
    }
    expect(thrown, "a wrong number of threads is refused");
  }
}

void many_short_jobs() {
  set_num_threads(3);
  int64_t sum = 0;
  for (int round = 0; round < 3000; ++round) {
    std::atomic<int64_t> part{0};
    parallel_for(1 + round % 5, [&](int64_t item, int) { part += item + 1; });
    sum += part;
    if (round % 500 == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // the threads fall asleep
  }
  expect(sum == 3000 / 5 * (1 + 3 + 6 + 10 + 15), "short jobs add up");
}

void rising_order() {
  set_num_threads(3);
  std::vector<int64_t> last(3, -1);
  std::atomic<bool> rising{true};
  parallel_for(500, [&](int64_t item, int thread) {
    if (item <= last[static_cast<size_t>(thread)]) rising = false;
    last[static_cast<size_t>(thread)] = item;
  });
  expect(rising, "a thread's items rise");
}

void nesting() {
  set_num_threads(2);
  std::atomic<int> inner{0};
  std::atomic<bool> same{true};
  parallel_for(6, [&](int64_t, int thread) {
    parallel_for(10, [&](int64_t, int nested) {
      ++inner;
      if (nested != thread) same = false;
    });
  });
  expect(inner == 60 && same, "nested calls run inline on the same thread");
}

void several_callers() {
  set_num_threads(2);
  std::atomic<bool> right{true};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        if (!each_runs_once(20)) right = false;
        int64_t* scratch = static_cast<int64_t*>(workspace(0, 3, 8 * 64));
        std::iota(scratch, scratch + 64, round);
        std::this_thread::yield();
        for (int64_t i = 0; i < 64; ++i) right = right && scratch[i] == round + i;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  expect(right, "several callers do not disturb each other");
}

void exceptions() {
  for (int threads : {1, 3}) {
    set_num_threads(threads);
    std::string message;
    try {
      parallel_for(100, [](int64_t item, int) {
        if (item == 10) throw std::runtime_error("item 10");
      });
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    expect(message == "item 10", "an item's exception reaches the caller");
    expect(each_runs_once(50), "the pool works after an exception");
  }
}

void fork_and_exit() {
  set_num_threads(3);
  expect(each_runs_once(30), "before fork");
  const pid_t child = fork();
  if (child == 0)
    exit(each_runs_once(30) && num_threads() == 3 ? 0 : 1);  // runs destructors with threads asleep
  int status = -1;
  waitpid(child, &status, 0);
  expect(WIFEXITED(status) && WEXITSTATUS(status) == 0,
         "a child has a pool of its own and exits cleanly");
  expect(each_runs_once(30), "the parent goes on");
}

void workspaces() {
  set_num_threads(2);
  void* first = workspace(0, 5, 1000);
  expect(reinterpret_cast<uintptr_t>(first) % 64 == 0, "a workspace is aligned");
  expect(workspace(0, 5, 500) == first, "a workspace is kept");
  expect(workspace(0, 6, 1000) != first, "purposes are apart");
  bool thrown = false;
  try {
    workspace(0, kWorkspacePurposes, 8);
  } catch (const Error&) {
    thrown = true;
  }
  expect(thrown, "an unknown purpose is refused");
}

}  // namespace
}  // namespace fms_accel

int main() {
  using namespace fms_accel;
  sizes();
  many_short_jobs();
  rising_order();
  nesting();
  several_callers();
  exceptions();
  workspaces();
  fork_and_exit();
  printf("thread pool: %d failures\n", failures);
  return failures > 0;
}
