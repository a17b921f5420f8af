// Random numbers and dropout. Element i of a draw comes from word i % 4 of block offset + i / 4 and
// of nothing else.
#include "cpu/kernel_sources.h"
#include "cpu/philox.h"
#include "cpu/runs.h"

namespace fms_accel::FMS_ACCEL_ISA {
void uniform(const Loop& loop, const Operand& out, float low, float high, Randomness random) {
  // As many bits as the dtype holds below 1, so that rounding does not reach `high` on [0, 1).
  const int bits = out.dtype == DType::kFloat32 ? 24 : out.dtype == DType::kFloat16 ? 11 : 8;
  const float step = 1.0f / static_cast<float>(1 << bits), range = high - low;
  for_each_run(loop.numel, [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[kRun];
    alignas(64) float result[kRun];
    philox_words(random.seed, random.offset, begin, end - begin, words);
    for (int64_t i = 0; i < end - begin; ++i) {
      result[i] =
          static_cast<float>(static_cast<int32_t>(words[i] >> (32 - bits))) * step * range + low;
    }
    store_run<float>(loop, out, begin, end, result);
  });
}

// Box and Muller (1958): words 2 j and 2 j + 1 give the radius and the angle of two independent
// normal numbers.
void normal(const Loop& loop, const Operand& out, float mean, float deviation, Randomness random) {
  for_each_run(loop.numel, [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[kRun];
    alignas(64) float radius[kRun / 2], angle[kRun / 2], result[kRun];
    const int64_t count = end - begin, pairs = (count + 1) / 2;  // begin is even
    philox_words(random.seed, random.offset, begin, 2 * pairs, words);
    for (int64_t j = 0; j < pairs; ++j) {
      // In (0, 1]: 31 bits, so that the tail reaches 6.6 standard deviations.
      const float u =
          (static_cast<float>(static_cast<int32_t>(words[2 * j] >> 1)) + 1.0f) * 0x1p-31f;
      radius[j] = deviation * __builtin_sqrtf(-2.0f * log_of(u));
      angle[j] = static_cast<float>(static_cast<int32_t>(words[2 * j + 1] >> 8)) *
                 (6.28318531f * 0x1p-24f);
    }
    for (int64_t j = 0; j < pairs; ++j) result[2 * j] = radius[j] * cos_of(angle[j]) + mean;
    for (int64_t j = 0; j < pairs; ++j) result[2 * j + 1] = radius[j] * sin_of(angle[j]) + mean;
    store_run<float>(loop, out, begin, end, result);
  });
}

void dropout(const Loop& loop, const Operand& out, const Operand& x, uint32_t threshold,
             float scale, Randomness random) {
  for_each_run(loop.numel, [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[kRun];
    alignas(64) float buffer[kRun], result[kRun];
    philox_words(random.seed, random.offset, begin, end - begin, words);
    const float* values = load_run<float>(loop, x, begin, end, buffer);
    // A mask, not a branch: the compiler would make the load depend on it.
    for (int64_t i = 0; i < end - begin; ++i) {
      const uint32_t mask = words[i] >= threshold ? 0xffffffff : 0;
      result[i] = as_float(as_bits(values[i] * scale) & mask);
    }
    store_run<float>(loop, out, begin, end, result);
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
