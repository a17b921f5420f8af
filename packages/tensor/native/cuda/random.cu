// Random numbers and dropout. Element i of a draw comes from word i % 4 of block offset + i / 4 of
// Philox 4x32-10 (Salmon et al., SC 2011), as on the CPU: the same seed drops the same elements.
#include "cuda/elements.h"
#include "cuda/kernel_sources.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 256;

struct Words {
  unsigned word[4];
};

__device__ __forceinline__ Words philox(uint64_t seed, uint64_t block) {
  constexpr unsigned kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u, kWeyl0 = 0x9E3779B9u,
                     kWeyl1 = 0xBB67AE85u;
  Words c{{static_cast<unsigned>(block), static_cast<unsigned>(block >> 32), 0, 0}};
  unsigned key0 = static_cast<unsigned>(seed), key1 = static_cast<unsigned>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned low0 = kMultiplier0 * c.word[0], high0 = __umulhi(kMultiplier0, c.word[0]);
    const unsigned low1 = kMultiplier1 * c.word[2], high1 = __umulhi(kMultiplier1, c.word[2]);
    c = {{high1 ^ c.word[1] ^ key0, low1, high0 ^ c.word[3] ^ key1, low0}};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return c;
}

// Each thread takes the four elements of one block of words.
template <class Draw>
__global__ void __launch_bounds__(kThreads)
    draw_elements(Walk<2> walk, void* out, DType out_dtype, const void* x, DType x_dtype,
                  int64_t numel, Randomness random, Draw draw) {
  if (random.state != nullptr) {
    random.seed = random.state[0];
    random.offset += random.state[1];
  }
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * 4;
  for (int64_t begin = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 4;
       begin < numel; begin += step) {
    const Words words = philox(random.seed, random.offset + static_cast<uint64_t>(begin / 4));
    float values[4];
    draw.values(words, values);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (begin + e >= numel) break;
      int64_t at[2];
      walk.offsets(begin + e, at);
      const float own = Draw::kReads ? load<float>(x, x_dtype, at[1]) : 0.0f;
      store<float>(out, out_dtype, at[0], draw.finish(words.word[e], values[e], own));
    }
  }
}

struct Uniform {
  static constexpr bool kReads = false;
  int bits;
  float step, range, low;
  __device__ __forceinline__ void values(const Words& words, float (&to)[4]) const {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float whole = static_cast<float>(static_cast<int>(words.word[e] >> (32 - bits)));
      // Two roundings, as on the CPU.
#if defined(__CUDA_ARCH__)
      to[e] = __fadd_rn(__fmul_rn(__fmul_rn(whole, step), range), low);
#else
      to[e] = whole * step * range + low;
#endif
    }
  }
  __device__ __forceinline__ float finish(unsigned, float value, float) const { return value; }
};

// Box and Muller (1958).
struct Normal {
  static constexpr bool kReads = false;
  float mean, deviation;
  __device__ __forceinline__ void values(const Words& words, float (&to)[4]) const {
#pragma unroll
    for (int e = 0; e < 4; e += 2) {
      const float u = (static_cast<float>(static_cast<int>(words.word[e] >> 1)) + 1.0f) * 0x1p-31f;
      const float radius = deviation * sqrtf(-2.0f * logf(u));
      const float angle =
          static_cast<float>(static_cast<int>(words.word[e + 1] >> 8)) * (6.28318531f * 0x1p-24f);
      to[e] = radius * cosf(angle) + mean;
      to[e + 1] = radius * sinf(angle) + mean;
    }
  }
  __device__ __forceinline__ float finish(unsigned, float value, float) const { return value; }
};

struct Dropout {
  static constexpr bool kReads = true;
  unsigned threshold;
  float scale;
  __device__ __forceinline__ void values(const Words&, float (&)[4]) const {}
  __device__ __forceinline__ float finish(unsigned word, float, float x) const {
    return word >= threshold ? x * scale : 0.0f;
  }
};

template <class Draw>
void launch_draw(const Loop& loop, const Operand& out, const Operand& x, Randomness random,
                 const Draw& draw) {
  random.state = captured_random_state();
  launch(draw_elements<Draw>, grid_for(loop.numel, kThreads * 4), dim3(kThreads), 0,
         walk_of(loop, out.strides, x.strides), out.data, out.dtype,
         static_cast<const void*>(x.data), x.dtype, loop.numel, random, draw);
}

}  // namespace

void uniform(const Loop& loop, const Operand& out, float low, float high, Randomness random) {
  // As many bits as the dtype holds below 1, so that rounding does not reach `high` on [0, 1).
  const int bits = out.dtype == DType::kFloat32 ? 24 : out.dtype == DType::kFloat16 ? 11 : 8;
  launch_draw(loop, out, out, random,
              Uniform{bits, 1.0f / static_cast<float>(1 << bits), high - low, low});
}

void normal(const Loop& loop, const Operand& out, float mean, float deviation, Randomness random) {
  launch_draw(loop, out, out, random, Normal{mean, deviation});
}

void dropout(const Loop& loop, const Operand& out, const Operand& x, uint32_t threshold,
             float scale, Randomness random) {
  launch_draw(loop, out, x, random, Dropout{threshold, scale});
}

}  // namespace fms_accel::cuda
