#include "cpu/isa.h"

#include "engine/error.h"

namespace fms_accel {

#define FMS_ACCEL_DECLARE(name)                    \
  namespace name {                                 \
  extern const AttentionKernels kAttentionKernels; \
  }
FMS_ACCEL_DECLARE(portable)
#ifdef FMS_ACCEL_HAS_AVX2
FMS_ACCEL_DECLARE(avx2)
FMS_ACCEL_DECLARE(avx512)
FMS_ACCEL_DECLARE(avx512_bf16)
#endif
#undef FMS_ACCEL_DECLARE

const AttentionKernels& attention_kernels(const std::string& isa) {
  if (isa == "portable") return portable::kAttentionKernels;
#ifdef FMS_ACCEL_HAS_AVX2
  if (isa == "avx2") return avx2::kAttentionKernels;
  if (isa == "avx512") return avx512::kAttentionKernels;
  if (isa == "avx512_bf16") return avx512_bf16::kAttentionKernels;
#endif
  fail("variable-length attention was built without kernels for the instruction set ", isa,
       ": build it again on this machine");
}

}  // namespace fms_accel
