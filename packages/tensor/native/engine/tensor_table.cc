#include "engine/tensor_table.h"

#include "engine/error.h"

namespace fms_accel {
namespace {
constexpr int kSlotBits = 22;
constexpr uint64_t kSlotMask = (uint64_t{1} << kSlotBits) - 1;
constexpr uint32_t kLastGeneration =
    (uint32_t{1} << 31) - 1;  // generation and slot together stay below 2^53
}  // namespace

Handle TensorTable::insert(Tensor tensor) {
  uint32_t index;
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else {
    check(slots_.size() <= kSlotMask, "more than ", kSlotMask,
          " live tensors: tensors leak; use scope()");
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  }
  Slot& slot = slots_[index];
  slot.tensor = std::move(tensor);
  slot.used = true;
  ++live_;
  return (static_cast<uint64_t>(slot.generation) << kSlotBits) | index;
}

TensorTable::Slot& TensorTable::slot_of(Handle handle) {
  const uint64_t index = handle & kSlotMask;
  check(index < slots_.size() && slots_[index].used &&
            slots_[index].generation == handle >> kSlotBits,
        "this tensor was disposed (or its scope has ended): keep it with keep(), or return it from "
        "the scope");
  return slots_[index];
}

const Tensor& TensorTable::resolve(Handle handle) const {
  return const_cast<TensorTable*>(this)->slot_of(handle).tensor;
}

void TensorTable::release(Handle handle) {
  Slot& slot = slot_of(handle);
  slot.tensor = Tensor();
  slot.used = false;
  --live_;
  // A slot whose generations are used up is retired rather than reused.
  if (slot.generation < kLastGeneration) {
    ++slot.generation;
    free_.push_back(static_cast<uint32_t>(handle & kSlotMask));
  }
}

}  // namespace fms_accel
