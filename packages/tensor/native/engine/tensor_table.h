// Handles: what JavaScript holds in place of tensors. A handle is generation * 2^22 + slot; a
// slot's generation grows each time it is freed, so a handle that outlived its tensor is recognised
// instead of naming another one.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

#include "engine/tensor.h"

namespace fms_accel {

using Handle = uint64_t;

class TensorTable {
 public:
  Handle insert(Tensor tensor);
  // Throws Error for a handle that was released or never given out.
  const Tensor& resolve(Handle handle) const;
  void release(Handle handle);
  int64_t live() const { return live_; }

 private:
  struct Slot {
    Tensor tensor;
    uint32_t generation = 1;
    bool used = false;
  };
  Slot& slot_of(Handle handle);

  // A deque, so that the references that `resolve` gives stay valid while results are inserted.
  std::deque<Slot> slots_;
  std::vector<uint32_t> free_;
  int64_t live_ = 0;
};

}  // namespace fms_accel
