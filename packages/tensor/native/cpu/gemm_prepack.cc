#include "cpu/gemm_prepack.h"

#include "cpu/gemm_failure.h"
#include "cpu/gemm_pack.h"
#include "engine/thread_pool.h"

#define FMS_ACCEL_TEXT_(name) #name
#define FMS_ACCEL_TEXT(name) FMS_ACCEL_TEXT_(name)

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// One cache line before the panels.
struct Header {
  char isa[24];
  uint64_t magic;
  int64_t n, k, compute;
  char unused[8];
};
static_assert(sizeof(Header) == 64, "panels begin on a cache line");
constexpr uint64_t kMagic = 0x6b63617065727066;

constexpr int64_t kPanels = 4;  // of an item

}  // namespace

size_t prepacked_bytes(Compute compute, int64_t n, int64_t k) {
  const KBlocks blocks = k_blocks(compute, k);
  const int64_t steps = (blocks.count - 1) * step_count(compute, blocks.size) +
                        step_count(compute, blocks.length(blocks.count - 1));
  return sizeof(Header) + 4 * static_cast<size_t>(steps * padded_columns(n));
}

void prepack(Compute compute, int64_t n, int64_t k, const GemmSource& b, void* to) {
  Header header = {FMS_ACCEL_TEXT(FMS_ACCEL_ISA), kMagic, n, k, static_cast<int64_t>(compute), {}};
  memcpy(to, &header, sizeof header);
  if (n <= 0 || k <= 0) return;
  uint32_t* const base = reinterpret_cast<uint32_t*>(static_cast<char*>(to) + sizeof(Header));
  const KBlocks blocks = k_blocks(compute, k);
  const Panels panels = column_panels(0, n);
  const int64_t groups = divide_up(panels.count, kPanels),
                block_steps = step_count(compute, blocks.size);
  parallel_for(groups * blocks.count, [&](int64_t item, int) {
    const int64_t block = item / groups, begin = item % groups * kPanels,
                  end = min_of(begin + kPanels, panels.count);
    const int64_t steps = step_count(compute, blocks.length(block));
    pack_source(compute, b, k,
                {base + block * block_steps * padded_columns(n) + panels.start(begin) * steps,
                 panels.start(begin), panels.lanes(begin, end), panels.full, panels.width(end - 1),
                 blocks.first(block), blocks.length(block)});
  });
}

void check_prepacked(const void* packed, Compute compute, int64_t n, int64_t k) {
  Header header;
  memcpy(&header, packed, sizeof header);
  if (header.magic == kMagic && header.n == n && header.k == k &&
      header.compute == static_cast<int64_t>(compute) &&
      __builtin_strcmp(header.isa, FMS_ACCEL_TEXT(FMS_ACCEL_ISA)) == 0) {
    return;
  }
  fail_prepacked(header.magic == kMagic, header.isa, header.n, header.k,
                 FMS_ACCEL_TEXT(FMS_ACCEL_ISA), n, k);
}

const uint32_t* prepacked_panels(const void* packed) {
  return reinterpret_cast<const uint32_t*>(static_cast<const char*>(packed) + sizeof(Header));
}

}  // namespace fms_accel::FMS_ACCEL_ISA
