// A std::vector for kernel sources. The allocator is a type of the instruction set's own namespace,
// and so every function that the compiler makes of the vector is, too: the linker cannot put code
// for one instruction set in the place of that for another.
#pragma once
#include <cstddef>
#include <new>
#include <vector>

namespace fms_accel::FMS_ACCEL_ISA {

template <class T>
struct ArrayAllocator {
  using value_type = T;
  ArrayAllocator() = default;
  template <class U>
  ArrayAllocator(const ArrayAllocator<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T))); }
  void deallocate(T* data, size_t) { ::operator delete(data); }
  bool operator==(const ArrayAllocator&) const { return true; }
};

template <class T>
using Array = std::vector<T, ArrayAllocator<T>>;

}  // namespace fms_accel::FMS_ACCEL_ISA
