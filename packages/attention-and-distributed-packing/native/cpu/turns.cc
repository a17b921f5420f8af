#include "cpu/turns.h"

#include <thread>

namespace fms_accel {
namespace {

// Turns come within microseconds, unless the machine runs more threads than it has cores.
constexpr int kSpins = 4096;

void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Turns::Turns(int64_t sums) : passed_(new std::atomic<int32_t>[static_cast<size_t>(sums)]()) {}
Turns::~Turns() { delete[] passed_; }

void Turns::await(int64_t sum, int64_t turn) const {
  for (int spins = 0; passed_[sum].load(std::memory_order_acquire) != turn; ++spins) {
    if (is_given_up_.load(std::memory_order_relaxed)) return;
    if (spins < kSpins)
      pause_briefly();
    else
      std::this_thread::yield();
  }
}

void Turns::pass(int64_t sum) { passed_[sum].fetch_add(1, std::memory_order_release); }

void Turns::give_up() { is_given_up_.store(true, std::memory_order_relaxed); }

}  // namespace fms_accel
