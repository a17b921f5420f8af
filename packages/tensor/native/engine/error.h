// The one exception type of the engine. The binding turns it into a JavaScript TensorError; nothing
// else crosses.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace fms_accel {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What a device reports of a launch or a copy: CUDA's message. The binding adds the operation, its
// shapes and what would help.
class DeviceError : public Error {
 public:
  using Error::Error;
};
constexpr const char* kDeviceRemedy =
    ". The fault may be of an earlier operation: run again with FMS_ACCEL_CUDA_SYNC=1 to see "
    "which; "
    "start again from the last checkpoint";

// Memory of a device that ran out; who asked for it adds the tensor.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

// fail("matmul: expected ", a, " columns, found ", b)
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(message.str());
}

template <class... Parts>
inline void check(bool condition, const Parts&... parts) {
  if (!condition) fail(parts...);
}

}  // namespace fms_accel
