#include "engine/read_ahead.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <unordered_map>

#include "engine/thread_pool.h"

namespace fms_accel {
namespace {

// How far threads read ahead of the product in progress: what caches keep until it is needed, and
// as much as memory gives during the longest pause between two products.
constexpr int64_t kMostAhead = int64_t{4} << 20;
// Read at a time, before a thread looks for other work: tenths of a microsecond.
constexpr int64_t kPiece = 4096;
constexpr int64_t kLine = 64;
// How far ahead lines are asked for.
constexpr int64_t kPrefetch = 6144;
// An order longer than this is not worth remembering.
constexpr size_t kMostMatrices = 8192;

struct Span {
  const char* data = nullptr;
  int64_t bytes = 0;
  bool operator==(const Span&) const = default;
};

// The matrix announced last is being read by a product. `cursor_` is in the one after it, or
// further on in the order of last time: `whole_ahead_` matrices between the two have been read.
class ReadAhead {
 public:
  void announce(const Span& matrix) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (next_.size() > kMostMatrices) forget();
    Span& expected = next_[last_.data];
    const bool as_expected = expected == matrix;
    expected = matrix;
    last_ = matrix;
    if (as_expected && whole_ahead_ > 0) {
      --whole_ahead_;
      bytes_ahead_ -= matrix.bytes;
    } else {
      whole_ahead_ = 0;
      bytes_ahead_ = 0;
      move_behind(matrix);
    }
    update();
  }

  bool read() {
    if (!wanted_.load(std::memory_order_relaxed)) return false;
    Span piece;
    {
      const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
      if (!lock.owns_lock() || !wanted_.load(std::memory_order_relaxed)) return false;
      piece = {cursor_.data + at_, std::min(kPiece, cursor_.bytes - at_)};
      at_ += piece.bytes;
      bytes_ahead_ += piece.bytes;
      if (at_ == cursor_.bytes) {
        ++whole_ahead_;
        move_behind(cursor_);
      }
      update();
      readers_.fetch_add(1, std::memory_order_relaxed);
    }
    for (int64_t at = 0; at < piece.bytes; at += kLine) {
      __builtin_prefetch(piece.data + at + kPrefetch, 0, 2);
      // Prefetches are dropped where many are under way, loads are not.
      static_cast<void>(*static_cast<const volatile char*>(piece.data + at));
    }
    readers_.fetch_sub(1, std::memory_order_release);
    return true;
  }

  void clear() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      forget();
    }
    while (readers_.load(std::memory_order_acquire) > 0) {
    }
  }

 private:
  void move_behind(const Span& matrix) {
    const auto found = next_.find(matrix.data);
    cursor_ = found == next_.end() ? Span() : found->second;
    at_ = 0;
  }
  void update() {
    wanted_.store(cursor_.bytes > 0 && bytes_ahead_ < kMostAhead, std::memory_order_relaxed);
  }
  void forget() {
    next_.clear();
    last_ = cursor_ = Span();
    at_ = whole_ahead_ = bytes_ahead_ = 0;
    update();
  }

  std::mutex mutex_;
  std::unordered_map<const char*, Span> next_;  // what was read after a matrix the last time
  Span last_, cursor_;
  int64_t at_ = 0;  // in cursor_
  int64_t whole_ahead_ = 0, bytes_ahead_ = 0;
  // On lines of their own: threads that wait for work poll the first.
  alignas(64) std::atomic<bool> wanted_{false};
  alignas(64) std::atomic<int> readers_{0};
};

// Never destroyed: threads of the pool use it while the process exits.
ReadAhead& instance() {
  static auto* const created = new ReadAhead;
  return *created;
}

}  // namespace

void announce_read(const Tensor& matrix) {
  const int64_t bytes = matrix.numel() * static_cast<int64_t>(item_size(matrix.dtype));
  if (bytes == 0 || matrix.storage->dry || usable_threads() == 1) return;
  matrix.storage->announced = true;
  instance().announce({static_cast<const char*>(matrix.raw()), bytes});
}

bool read_ahead() { return instance().read(); }

void forget_announced_reads() { instance().clear(); }

}  // namespace fms_accel
