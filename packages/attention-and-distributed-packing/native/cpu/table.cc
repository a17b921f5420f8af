#include "cpu/backward_tile.h"
#include "cpu/kernel_sources.h"

namespace fms_accel::FMS_ACCEL_ISA {

extern const AttentionKernels kAttentionKernels;
const AttentionKernels kAttentionKernels = {
    .row_granularity = kTileRows,
    .most_rows = kMostForwardRows / kTileRows * kTileRows,
    .key_granularity = kBlockKeys,
    .row_block = kRowBlock,
    .forward = forward,
    .forward_scratch = forward_scratch,
    .output_dots = output_dots,
    .backward = backward,
    .backward_scratch = backward_scratch,
};

}  // namespace fms_accel::FMS_ACCEL_ISA
