// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): ten
// rounds of multiplications turn a 128-bit counter and a 64-bit key into four random words. Written
// over many blocks at once, so that it vectorises.
#pragma once
#include "cpu/elements.h"

namespace fms_accel::FMS_ACCEL_ISA {

// words[j] = word (begin + j) % 4 of block `first_block` + (begin + j) / 4, for j < count <= kRun.
// The counter's upper half is 0.
inline void philox_words(uint64_t seed, uint64_t first_block, int64_t begin, int64_t count,
                         uint32_t* words) {
  constexpr int64_t kBlocks = kRun / 4 + 1;
  constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57, kWeyl0 = 0x9E3779B9,
                     kWeyl1 = 0xBB67AE85;
  alignas(64) uint32_t c0[kBlocks], c1[kBlocks], c2[kBlocks], c3[kBlocks];
  const int64_t blocks = (begin % 4 + count + 3) / 4;
  const uint64_t base = first_block + static_cast<uint64_t>(begin / 4);
  for (int64_t b = 0; b < blocks; ++b) {
    const uint64_t counter = base + static_cast<uint64_t>(b);
    c0[b] = static_cast<uint32_t>(counter);
    c1[b] = static_cast<uint32_t>(counter >> 32);
    c2[b] = c3[b] = 0;
  }
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int64_t b = 0; b < blocks; ++b) {
      const uint64_t product0 = uint64_t{kMultiplier0} * c0[b],
                     product1 = uint64_t{kMultiplier1} * c2[b];
      const uint32_t next0 = static_cast<uint32_t>(product1 >> 32) ^ c1[b] ^ key0;
      const uint32_t next2 = static_cast<uint32_t>(product0 >> 32) ^ c3[b] ^ key1;
      c0[b] = next0;
      c1[b] = static_cast<uint32_t>(product1);
      c2[b] = next2;
      c3[b] = static_cast<uint32_t>(product0);
    }
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  alignas(64) uint32_t all[4 * kBlocks];
  for (int64_t b = 0; b < blocks; ++b) {
    all[4 * b] = c0[b];
    all[4 * b + 1] = c1[b];
    all[4 * b + 2] = c2[b];
    all[4 * b + 3] = c3[b];
  }
  memcpy(words, all + begin % 4, static_cast<size_t>(count) * sizeof(uint32_t));
}

}  // namespace fms_accel::FMS_ACCEL_ISA
