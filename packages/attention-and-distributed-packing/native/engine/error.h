// The one exception type of this addon. The binding turns it into a JavaScript TensorError.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace fms_accel {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What a device reports of its work; who asked for the work adds what it was.
class DeviceError : public Error {
 public:
  using Error::Error;
};

// fail("expected ", a, " columns, found ", b)
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
