// Who may add to a sum that several items share. Items are handed out in rising order, so one that
// waits, waits for items that are already running.
#pragma once
#include <atomic>
#include <cstdint>

namespace fms_accel {

class Turns {
 public:
  explicit Turns(int64_t sums);
  ~Turns();
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // Returns when `turn` items have passed this sum, or when the work was given up.
  void await(int64_t sum, int64_t turn) const;
  void pass(int64_t sum);
  // An item could not be run: nobody may wait for it.
  void give_up();

 private:
  std::atomic<int32_t>* passed_;
  std::atomic<bool> is_given_up_{false};
};

}  // namespace fms_accel
