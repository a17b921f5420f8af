// Element types, their sizes and names, and where a tensor lies.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fms_accel {

// The numbers are shared with src/dtype.ts.
enum class DType : uint8_t {
  kFloat32 = 0,
  kBFloat16 = 1,
  kFloat16 = 2,
  kInt32 = 3,
  kInt64 = 4,
  kUint8 = 5,
  kBool = 6,
};
constexpr int kDTypes = 7;

constexpr size_t item_size(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kBFloat16:
    case DType::kFloat16:
      return 2;
    case DType::kInt64:
      return 8;
    default:
      return 1;
  }
}

constexpr const char* name_of(DType dtype) {
  constexpr const char* kNames[] = {"float32", "bfloat16", "float16", "int32",
                                    "int64",   "uint8",    "bool"};
  return kNames[static_cast<int>(dtype)];
}

constexpr bool is_floating(DType dtype) { return dtype <= DType::kFloat16; }

struct Device {
  int32_t type = 1;  // DLPack's numbers: 1 CPU, 2 CUDA
  int32_t index = 0;
  bool operator==(const Device& other) const { return type == other.type && index == other.index; }
};

}  // namespace fms_accel
