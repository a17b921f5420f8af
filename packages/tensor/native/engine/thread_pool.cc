#include "engine/thread_pool.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#ifdef __linux__
#include <dlfcn.h>
#include <sys/mman.h>
#endif

#include "engine/cpu_count.h"
#include "engine/error.h"
#include "engine/read_ahead.h"

namespace fms_accel {
namespace {

constexpr int kMaxThreads = 1024;
// Longer than the JavaScript between two operations usually takes, short enough not to be seen in a
// profile of an idle process.
constexpr std::chrono::microseconds kSpin{60};

thread_local bool inside_item = false;  // of a parallel_for, or of one that runs inline
thread_local int thread_index = 0;

void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `value` differs from `old`: spins for kSpin, then sleeps. `idle` does a little of
// what may be done meanwhile; spinning begins when it returns false.
template <class T, class Idle>
void wait_for_change(const std::atomic<T>& value, T old, const Idle& idle) {
  auto deadline = std::chrono::steady_clock::now() + kSpin;
  bool was_busy;
  do {
    was_busy = false;
    for (int i = 0; i < 32; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      if (idle()) {
        was_busy = true;
      } else {
        pause_briefly();
      }
    }
    if (was_busy) deadline = std::chrono::steady_clock::now() + kSpin;
  } while (was_busy || std::chrono::steady_clock::now() < deadline);
  value.wait(old, std::memory_order_acquire);
}

int initial_threads() {
  const char* wanted = std::getenv("FMS_ACCEL_NUM_THREADS");
  if (wanted == nullptr || *wanted == 0) return available_cores();
  char* end = nullptr;
  const long threads = std::strtol(wanted, &end, 10);
  check(*end == 0 && threads >= 1 && threads <= kMaxThreads, "FMS_ACCEL_NUM_THREADS=", wanted,
        ": expected a whole number from 1 to ", kMaxThreads);
  return static_cast<int>(threads);
}

// One job at a time. `unclaimed_` counts down the items that nobody has taken yet, so the value
// itself tells a thread that comes late, or belongs to an older job, whether there is anything to
// do; while it is above 0, or an item runs, the job stays valid.
class ThreadPool {
 public:
  explicit ThreadPool(int threads) : threads_(threads) {}

  int threads() const { return threads_.load(std::memory_order_relaxed); }

  void set_threads(int threads) {
    const std::lock_guard<std::mutex> lock(caller_);
    if (threads == threads_.load()) return;
    stopping_.store(true);
    epoch_.fetch_add(1);
    epoch_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stopping_.store(false);
    threads_.store(threads);
  }

  // False when another caller has the pool.
  bool try_run(int64_t items, ParallelBody body, void* argument) {
    const std::unique_lock<std::mutex> lock(caller_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    start_workers();
    body_ = body;
    argument_ = argument;
    items_ = items;
    exception_ = nullptr;
    unfinished_.store(items, std::memory_order_relaxed);
    unclaimed_.store(items, std::memory_order_release);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    work();
    for (int64_t left; (left = unfinished_.load(std::memory_order_acquire)) > 0;)
      wait_for_change(unfinished_, left, [] { return false; });
    if (exception_) std::rethrow_exception(exception_);
    return true;
  }

 private:
  void start_workers() {
    if (static_cast<int>(workers_.size()) + 1 >= threads()) return;
    // Signals stay with Node's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const uint32_t epoch = epoch_.load();
    while (static_cast<int>(workers_.size()) + 1 < threads()) {
      const int index = static_cast<int>(workers_.size()) + 1;
      workers_.emplace_back([this, index, epoch] { loop(index, epoch); });
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void loop(int index, uint32_t epoch) {
    thread_index = index;
    for (;;) {
      wait_for_change(epoch_, epoch, read_ahead);
      epoch = epoch_.load(std::memory_order_acquire);
      if (stopping_.load()) return;
      work();
    }
  }

  // Takes items until none is left.
  void work() {
    inside_item = true;
    int64_t done = 0;
    for (;;) {
      int64_t left = unclaimed_.load(std::memory_order_acquire);
      while (left > 0 &&
             !unclaimed_.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel)) {
      }
      if (left <= 0) break;
      ++done;
      try {
        body_(argument_, items_ - left, thread_index);
      } catch (...) {
        done += abandon(std::current_exception());
      }
    }
    inside_item = false;
    if (done > 0 && unfinished_.fetch_sub(done, std::memory_order_acq_rel) == done)
      unfinished_.notify_one();
  }

  // Keeps the first exception and drops the items that nobody has taken; returns how many.
  int64_t abandon(std::exception_ptr exception) {
    const std::lock_guard<std::mutex> lock(exception_mutex_);
    if (!exception_) exception_ = exception;
    return unclaimed_.exchange(0, std::memory_order_acq_rel);
  }

  std::mutex caller_;  // held during a job, and to change the threads
  std::vector<std::thread> workers_;
  std::atomic<int> threads_;
  std::atomic<bool> stopping_{false};
  ParallelBody body_ = nullptr;
  void* argument_ = nullptr;
  int64_t items_ = 0;
  std::mutex exception_mutex_;
  std::exception_ptr exception_;
  // On cache lines of their own: every thread polls them.
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<int64_t> unclaimed_{0};
  alignas(64) std::atomic<int64_t> unfinished_{0};
};

std::atomic<ThreadPool*> current_pool{nullptr};

// Threads outlive any one JavaScript environment, and so must the code that they run: an addon that
// only a Node worker has loaded would otherwise be unmapped under them when that worker ends.
void keep_library_loaded() {
#ifdef __linux__
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&keep_library_loaded), &info) != 0 &&
      info.dli_fname != nullptr) {
    dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
  }
#endif
}

// Never destroyed: at exit the threads may be asleep in it. A child after fork has no threads, so
// it gets a pool of its own.
ThreadPool& pool() {
  static std::mutex creation;
  ThreadPool* existing = current_pool.load(std::memory_order_acquire);
  if (existing != nullptr) return *existing;
  const std::lock_guard<std::mutex> lock(creation);
  if (current_pool.load() == nullptr) {
    auto created = std::make_unique<ThreadPool>(initial_threads());
    keep_library_loaded();
    pthread_atfork(nullptr, nullptr, [] {
      inside_item = false;
      current_pool.store(new ThreadPool(current_pool.load()->threads()));
    });
    current_pool.store(created.release(), std::memory_order_release);
  }
  return *current_pool.load();
}

struct Inline {
  Inline() { inside_item = true; }
  ~Inline() { inside_item = false; }
};

// ---- Workspaces ---------------------------------------------------------------------------------

constexpr size_t kHugePage = size_t{2} << 20;

struct Workspaces {
  void* data[kWorkspacePurposes] = {};
  size_t bytes[kWorkspacePurposes] = {};
  ~Workspaces() {
    for (void* block : data) std::free(block);
  }
};
thread_local Workspaces workspaces;

}  // namespace

void parallel_for(int64_t items, ParallelBody body, void* argument) {
  if (items <= 0) return;
  if (!inside_item && items > 1 && pool().threads() > 1 && pool().try_run(items, body, argument))
    return;
  if (inside_item) {
    for (int64_t item = 0; item < items; ++item) body(argument, item, thread_index);
    return;
  }
  const Inline guard;
  for (int64_t item = 0; item < items; ++item) body(argument, item, 0);
}

int num_threads() { return pool().threads(); }
int usable_threads() { return inside_item ? 1 : num_threads(); }

void set_num_threads(int threads) {
  check(threads >= 1 && threads <= kMaxThreads, "expected 1 to ", kMaxThreads, " threads, found ",
        threads);
  check(!inside_item, "the number of threads cannot change inside a parallel_for");
  pool().set_threads(threads);
}

int current_thread() { return thread_index; }

void* workspace(int thread, int purpose, size_t bytes) {
  check(purpose >= 0 && purpose < kWorkspacePurposes, "workspace: purpose ", purpose,
        " is not below ", kWorkspacePurposes);
  check(thread == thread_index, "workspace: asked for thread ", thread, " on thread ",
        thread_index);
  if (workspaces.bytes[purpose] >= bytes && workspaces.data[purpose] != nullptr)
    return workspaces.data[purpose];
  std::free(workspaces.data[purpose]);
  workspaces.bytes[purpose] = 0;
  const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const size_t rounded =
      (bytes + alignment - 1) / alignment * alignment + (bytes == 0 ? alignment : 0);
  workspaces.data[purpose] = std::aligned_alloc(alignment, rounded);
  if (workspaces.data[purpose] == nullptr) fail("out of memory: a workspace of ", bytes, " bytes");
#ifdef __linux__
  if (alignment == kHugePage) madvise(workspaces.data[purpose], rounded, MADV_HUGEPAGE);
#endif
  workspaces.bytes[purpose] = rounded;
  return workspaces.data[purpose];
}

}  // namespace fms_accel
