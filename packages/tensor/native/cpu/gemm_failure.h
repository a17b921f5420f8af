// Errors of GEMM, thrown from code that is compiled once: kernel sources use no template of the
// standard library.
#pragma once
#include <cstdint>

namespace fms_accel {

// A prepacked operand of another shape, compute type or instruction set than the product asks for.
[[noreturn]] void fail_prepacked(bool is_prepacked, const char* isa, int64_t n, int64_t k,
                                 const char* wanted_isa, int64_t wanted_n, int64_t wanted_k);

}  // namespace fms_accel
