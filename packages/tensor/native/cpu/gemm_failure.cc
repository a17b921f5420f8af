#include "cpu/gemm_failure.h"

#include "engine/error.h"

namespace fms_accel {

void fail_prepacked(bool is_prepacked, const char* isa, int64_t n, int64_t k,
                    const char* wanted_isa, int64_t wanted_n, int64_t wanted_k) {
  if (!is_prepacked) fail("gemm: the prepacked operand was not made by prepack");
  fail("gemm: expected an operand prepacked for ", wanted_isa, " with n = ", wanted_n,
       " and k = ", wanted_k, " in the compute type of this product, found one for ", isa,
       " with n = ", n, " and k = ", k, "; prepack the weight again");
}

}  // namespace fms_accel
