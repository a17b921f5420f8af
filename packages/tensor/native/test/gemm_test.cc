// GEMM against sums in double, on every instruction set of this machine: dtypes, orientations, odd
// shapes, batches, sources, sinks; and the promise that bits do not depend on threads, prepacking
// or on the other rows. Exits with 1 on the first failures.
//   gemm_test [instruction set ...]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cpu/matmul.h"
#include "engine/error.h"
#include "engine/thread_pool.h"
#include "test/gemm_tables.h"

namespace fms_accel {
namespace {

int failures = 0, checks = 0;
void expect(bool condition, const std::string& what) {
  ++checks;
  if (condition) return;
  if (++failures <= 20) printf("FAILED %s\n", what.c_str());
}

struct Random {
  uint32_t state = 12345;
  uint32_t bits() { return (state = state * 1664525u + 1013904223u) >> 8; }
  float uniform() { return static_cast<float>(bits() & 0xffff) / 32768.0f - 1.0f; }
  int64_t below(int64_t n) { return bits() % n; }
};
Random random_source;

// ---- Elements, written independently of the kernels ---------------------------------------------

float float_of_bits(uint32_t bits) {
  float v;
  memcpy(&v, &bits, 4);
  return v;
}
uint32_t bits_of(float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  return bits;
}
double read(const void* data, DType dtype, int64_t i) {
  if (dtype == DType::kFloat32) return static_cast<const float*>(data)[i];
  const uint16_t bits = static_cast<const uint16_t*>(data)[i];
  if (dtype == DType::kBFloat16) return float_of_bits(static_cast<uint32_t>(bits) << 16);
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023, sign = bits >> 15;
  double v = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  if (exponent == 31) v = mantissa != 0 ? NAN : INFINITY;
  return sign != 0 ? -v : v;
}
double round_bf16(double v) {
  const uint32_t bits = bits_of(static_cast<float>(v));
  return std::isfinite(v) ? float_of_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000) : v;
}
void write(void* data, DType dtype, int64_t i, float v) {
  if (dtype == DType::kFloat32) {
    static_cast<float*>(data)[i] = v;
  } else if (dtype == DType::kBFloat16) {
    static_cast<uint16_t*>(data)[i] =
        static_cast<uint16_t>(bits_of(static_cast<float>(round_bf16(v))) >> 16);
  } else {  // multiples of 2^-10 below 1 in size: exact in float16
    const int q = static_cast<int>(std::lrint(v * 1024));
    const int magnitude = std::min(std::abs(q), 1023);
    int exponent = 15, mantissa = magnitude << 1;
    if (magnitude == 0)
      exponent = 0;
    else {
      exponent = 14;
      while (mantissa < 1024) mantissa <<= 1, --exponent;
      mantissa &= 1023;
    }
    static_cast<uint16_t*>(data)[i] =
        static_cast<uint16_t>((q < 0 ? 0x8000 : 0) | exponent << 10 | mantissa);
  }
}
double output_rounding(DType dtype) {
  return dtype == DType::kFloat32 ? 0 : dtype == DType::kBFloat16 ? 0x1p-8 : 0x1p-11;
}

struct Buffer {
  std::vector<uint32_t> words;
  DType dtype;
  Buffer(int64_t n, DType type) : words(static_cast<size_t>(n) + 16), dtype(type) {
    for (int64_t i = 0; i < n; ++i) write(words.data(), dtype, i, random_source.uniform());
  }
  double operator[](int64_t i) const { return read(words.data(), dtype, i); }
  void* data() { return words.data(); }
};

// ---- One product against the reference ----------------------------------------------------------

struct Case {
  int64_t m, n, k, batch = 1;
  DType a = DType::kFloat32, b = DType::kFloat32, c = DType::kFloat32;
  Compute compute = Compute::kFloat32;
  int a_form = 0, b_form = 0;  // 0: k contiguous, 1: k strided, 2: neither
  float alpha = 1, beta = 0;
  bool bias = false, shared_b = false;
  int64_t tail = 0;  // columns of A', rows of B'
};

std::string name(const char* isa, const Case& t) {
  char text[256];
  snprintf(text, sizeof text,
           "%s: m %ld n %ld k %ld batch %ld a %s/%d b %s/%d c %s compute %s alpha %g beta %g bias "
           "%d tail %ld",
           isa, static_cast<long>(t.m), static_cast<long>(t.n), static_cast<long>(t.k),
           static_cast<long>(t.batch), name_of(t.a), t.a_form, name_of(t.b), t.b_form, name_of(t.c),
           t.compute == Compute::kBFloat16 ? "bf16" : "f32", t.alpha, t.beta, t.bias,
           static_cast<long>(t.tail));
  return text;
}

// Strides of lanes and k, with room between rows.
std::pair<int64_t, int64_t> strides(int form, int64_t lanes, int64_t k) {
  if (form == 0) return {k + 3, 1};
  if (form == 1) return {1, lanes + 5};
  return {2, 2 * lanes + 1};
}
int64_t extent(int form, int64_t lanes, int64_t k) {
  const auto [lane_stride, k_stride] = strides(form, lanes, k);
  return lanes * lane_stride + k * k_stride + 1;
}

void run(const char* isa, const GemmKernels& kernels, const Case& t) {
  const int64_t a_size = extent(t.a_form, t.m, t.k), b_size = extent(t.b_form, t.n, t.k),
                ldc = t.n + 7;
  Buffer a(t.batch * a_size, t.a), b((t.shared_b ? 1 : t.batch) * b_size, t.b),
      bias(t.n, DType::kFloat32);
  const Buffer before(t.batch * t.m * ldc + 1, t.c);
  const auto [a_lane, a_k] = strides(t.a_form, t.m, t.k);
  const auto [b_lane, b_k] = strides(t.b_form, t.n, t.k);
  const int64_t a_tail_size = extent(t.a_form, t.m, t.tail),
                b_tail_size = extent(t.b_form, t.n, t.tail);
  Buffer a_tail(a_tail_size, t.a), b_tail(b_tail_size, t.b);
  const auto [a_tail_lane, a_tail_k] = strides(t.a_form, t.m, t.tail);
  const auto [b_tail_lane, b_tail_k] = strides(t.b_form, t.n, t.tail);
  MatmulArguments args;
  args.tail_k = t.tail;
  args.a_tail = {a_tail.data(), t.a, a_tail_lane, a_tail_k, 0};
  args.b_tail = {b_tail.data(), t.b, b_tail_k, b_tail_lane, 0};
  args.m = t.m, args.n = t.n, args.k = t.k, args.batch = t.batch;
  args.a = {a.data(), t.a, a_lane, a_k, a_size};
  args.b = {b.data(), t.b, b_k, b_lane, t.shared_b ? 0 : b_size};
  args.c_dtype = t.c, args.c_row_stride = ldc, args.c_batch_stride = t.m * ldc;
  args.compute = t.compute, args.alpha = t.alpha, args.beta = t.beta;
  args.bias = t.bias ? bias.data() : nullptr;

  Buffer c = before;
  args.c = c.data();
  set_num_threads(1);
  kernels.matmul(args);
  const std::string what = name(isa, t);
  double worst = 0;
  const auto rounded = [&](double v) {
    return t.compute == Compute::kBFloat16 ? round_bf16(v) : v;
  };
  for (int64_t i = 0; i < t.batch; ++i) {
    const int64_t points = t.m * t.n * t.k < 60'000 ? t.m * t.n : 300;
    for (int64_t point = 0; point < points; ++point) {
      int64_t row = point / std::max<int64_t>(t.n, 1), column = point % std::max<int64_t>(t.n, 1);
      if (points != t.m * t.n)
        row = point % 3 == 0 ? t.m - 1 : random_source.below(t.m),
        column = point % 3 == 1 ? t.n - 1 : random_source.below(t.n);
      double sum = 0, size = 1e-30;
      for (int64_t l = 0; l < t.tail; ++l) {
        const double product = rounded(a_tail[row * a_tail_lane + l * a_tail_k]) *
                               rounded(b_tail[column * b_tail_lane + l * b_tail_k]);
        sum += product;
        size += std::fabs(product);
      }
      for (int64_t l = 0; l < t.k; ++l) {
        const double product =
            rounded(a[i * a_size + row * a_lane + l * a_k]) *
            rounded(b[(t.shared_b ? 0 : i * b_size) + column * b_lane + l * b_k]);
        sum += product;
        size += std::fabs(product);
      }
      const int64_t at = i * t.m * ldc + row * ldc + column;
      const double expected =
          t.alpha * sum + (t.beta != 0 ? t.beta * before[at] : 0) + (t.bias ? bias[column] : 0);
      const double scale = std::fabs(t.alpha) * size + std::fabs(t.beta) + (t.bias ? 1 : 0);
      const double allowed = 2e-6 * scale + output_rounding(t.c) * std::fabs(expected) +
                             (t.c == DType::kFloat16 ? 1e-7 : 0);
      const double error = std::fabs(c[at] - expected) / allowed;
      worst = std::isfinite(error) ? std::max(worst, error) : 1e30;
    }
    for (int64_t row = 0; row < t.m; ++row) {  // what lies between rows is untouched
      for (int64_t j = t.n; j < ldc; ++j) {
        const int64_t at = i * t.m * ldc + row * ldc + j;
        if (c[at] != before[at]) worst = 1e30;
      }
    }
  }
  expect(worst <= 1, what + ": error of " + std::to_string(worst) + " times what is allowed");

  for (int threads : {2, 3}) {
    Buffer again = before;
    args.c = again.data();
    set_num_threads(threads);
    kernels.matmul(args);
    expect(again.words == c.words,
           what + ": other bits with " + std::to_string(threads) + " threads");
  }
  if ((t.batch == 1 || t.shared_b) && t.tail == 0) {
    const size_t bytes = kernels.prepacked_bytes(t.compute, t.n, t.k);
    void* packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
    memset(packed, 0xff, bytes);
    GemmSource source;
    source.dense = {b.data(), t.b, b_lane, b_k};
    kernels.prepack(t.compute, t.n, t.k, source, packed);
    args.prepacked_b = packed;
    for (int threads : {1, 2}) {
      Buffer again = before;
      args.c = again.data();
      set_num_threads(threads);
      kernels.matmul(args);
      expect(again.words == c.words,
             what + ": other bits when prepacked, " + std::to_string(threads) + " threads");
    }
    args.prepacked_b = nullptr;
    free(packed);
  }
  if (t.m > 1 && t.batch == 1) {  // the last row alone
    Buffer again = before;
    args.m = 1;
    args.a.data =
        static_cast<char*>(a.data()) + (t.m - 1) * a_lane * static_cast<int64_t>(item_size(t.a));
    args.a_tail.data = static_cast<char*>(a_tail.data()) +
                       (t.m - 1) * a_tail_lane * static_cast<int64_t>(item_size(t.a));
    args.c =
        static_cast<char*>(again.data()) + (t.m - 1) * ldc * static_cast<int64_t>(item_size(t.c));
    kernels.matmul(args);
    const size_t from = static_cast<size_t>((t.m - 1) * ldc) * item_size(t.c);
    const size_t bytes = static_cast<size_t>(t.n) * item_size(t.c);
    expect(memcmp(reinterpret_cast<char*>(again.words.data()) + from,
                  reinterpret_cast<char*>(c.words.data()) + from, bytes) == 0,
           what + ": other bits for a row alone");
  }
}

// ---- The other promises -------------------------------------------------------------------------

void dtypes_and_orientations(const char* isa, const GemmKernels& kernels) {
  const DType types[] = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};
  for (DType a : types)
    for (DType b : types)
      for (DType c : types)
        for (Compute compute : {Compute::kFloat32, Compute::kBFloat16})
          for (int form = 0; form < 9; ++form) {
            Case t{29, 37, 67};
            t.a = a, t.b = b, t.c = c, t.compute = compute, t.a_form = form / 3,
            t.b_form = form % 3;
            t.bias = form % 2 == 0;
            t.beta = form % 3 == 1 ? 0.5f : 0;
            run(isa, kernels, t);
          }
}

void shapes(const char* isa, const GemmKernels& kernels) {
  const int64_t list[][3] = {
      {0, 5, 5},       {5, 0, 5},       {5, 5, 0},      {1, 1, 1},      {1, 33, 1},
      {3, 17, 2},      {14, 32, 64},    {15, 33, 65},   {13, 31, 63},   {28, 64, 128},
      {1, 576, 577},   {7, 100, 608},   {8, 48, 609},   {2, 50, 1216},  {5, 70, 1217},
      {100, 9, 1300},  {9, 100, 1500},  {64, 16, 300},  {61, 16, 301},  {120, 8, 700},
      {16, 120, 2100}, {33, 300, 16},   {300, 33, 8},   {200, 200, 3},  {129, 65, 100},
      {256, 96, 200},  {64, 64, 700},   {1, 40, 2500},  {40, 1, 2500},  {2, 2, 5000},
      {170, 340, 90},  {90, 1100, 40},  {1100, 90, 40}, {4, 333, 1300}, {8, 700, 130},
      {6, 200, 33},    {16, 576, 2050}, {28, 80, 1500}, {5, 64, 2100},  {3, 112, 70},
      {11, 1600, 40},
  };
  int variant = 0;
  for (const auto& shape : list)
    for (int form = 0; form < 4; ++form)
      for (int types = 0; types < 4; ++types, ++variant) {
        Case t{shape[0], shape[1], shape[2]};
        t.a_form = form / 2, t.b_form = form % 2;
        t.a = t.b = types % 2 == 0 ? DType::kFloat32 : DType::kBFloat16;
        t.c = types < 2 ? DType::kFloat32 : DType::kBFloat16;
        t.compute = types % 2 == 0 ? Compute::kFloat32 : Compute::kBFloat16;
        t.alpha = variant % 5 == 0 ? -0.75f : 1;
        t.beta = variant % 4 == 0 ? 1 : variant % 7 == 0 ? 0.25f : 0;
        t.bias = variant % 3 == 0;
        run(isa, kernels, t);
      }
}

// Long k and wide C: several chunks, and running sums kept over several of them.
void chunks(const char* isa, const GemmKernels& kernels) {
  for (int variant = 0; variant < 6; ++variant) {
    Case t{variant % 2 == 0 ? 40 : 1060, variant % 2 == 0 ? 1060 : 40, variant < 2 ? 9000 : 2300};
    if (variant >= 4) t = {1100, 1090, 1300};
    t.c = variant % 3 == 0 ? DType::kFloat32 : DType::kBFloat16;
    t.compute = variant % 2 == 0 ? Compute::kBFloat16 : Compute::kFloat32;
    t.a = t.b = variant % 2 == 0 ? DType::kBFloat16 : DType::kFloat32;
    t.a_form = variant / 2 % 2, t.b_form = 1 - t.a_form;
    t.beta = variant == 3 ? 1 : 0;
    t.bias = variant == 4;
    run(isa, kernels, t);
  }
  Case t{2, 1050, 100000};  // a k beyond what is packed at once
  t.c = DType::kBFloat16;
  run(isa, kernels, t);
}

void batches(const char* isa, const GemmKernels& kernels) {
  for (int variant = 0; variant < 12; ++variant) {
    Case t{variant % 3 == 0 ? 1 : 19, 35, 70};
    t.batch = variant % 4 == 0 ? 2 : 13;
    t.shared_b = variant % 2 == 0;
    t.a_form = variant / 2 % 2, t.b_form = variant / 3 % 2;
    t.c = variant % 5 == 0 ? DType::kBFloat16 : DType::kFloat32;
    t.beta = variant % 6 == 0 ? 1 : 0;
    run(isa, kernels, t);
  }
  Case large{150, 160, 200};
  large.batch = 3;
  run(isa, kernels, large);
}

void low_rank_tails(const char* isa, const GemmKernels& kernels) {
  const int64_t list[][4] = {{1, 33, 2, 1},      {5, 3, 64, 16},     {29, 37, 66, 7},
                             {100, 96, 1010, 3}, {64, 50, 576, 8},   {40, 1060, 1024, 16},
                             {1100, 90, 90, 5},  {33, 70, 1088, 64}, {31, 8, 0, 4}};
  int variant = 0;
  for (const auto& shape : list)
    for (int form = 0; form < 9; ++form, ++variant) {
      Case t{shape[0], shape[1], shape[2]};
      t.tail = shape[3];
      t.a_form = form / 3, t.b_form = form % 3;
      t.a = variant % 2 == 0 ? DType::kFloat32 : DType::kBFloat16;
      t.b = variant % 4 < 2 ? DType::kFloat32 : DType::kBFloat16;
      t.c = variant % 3 == 0 ? DType::kBFloat16 : DType::kFloat32;
      t.compute = variant % 5 < 2 ? Compute::kBFloat16 : Compute::kFloat32;
      t.alpha = variant % 7 == 0 ? 0.5f : 1;
      t.beta = variant % 4 == 1 ? 1 : 0;
      t.bias = variant % 3 == 1;
      run(isa, kernels, t);
    }
}

void non_finite(const char* isa, const GemmKernels& kernels) {
  for (Compute compute : {Compute::kFloat32, Compute::kBFloat16})
    for (DType c_dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
      const int64_t m = 20, n = 40, k = 71;
      Buffer a(m * k, DType::kFloat32), b(n * k, DType::kFloat32), c(m * n, c_dtype);
      write(a.data(), a.dtype, 3 * k + 70, NAN);
      write(a.data(), a.dtype, 5 * k + 1, INFINITY);
      write(b.data(), b.dtype, 7 * k + 2, -INFINITY);
      write(c.data(), DType::kFloat32, 0, NAN);  // beta = 0 does not read C
      MatmulArguments args;
      args.m = m, args.n = n, args.k = k;
      args.a = {a.data(), a.dtype, k, 1, 0};
      args.b = {b.data(), b.dtype, 1, k, 0};
      args.c = c.data(), args.c_dtype = c_dtype, args.c_row_stride = n, args.compute = compute;
      kernels.matmul(args);
      bool right = true;
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          const double v = c[i * n + j];
          if (i == 3)
            right &= std::isnan(v);
          else if (i == 5 || j == 7)
            right &= !std::isfinite(v);
          else
            right &= std::isfinite(v);
        }
      expect(right, std::string(isa) + ": NaN and infinity, C " + name_of(c_dtype));
    }
}

// A source that computes its values, a gathered A, a sink that scatters: what plugins do.
struct Scatter {
  float* y;
  int64_t stride;
  const int32_t* index;
};
struct Formula {
  const GemmKernels* kernels;
  Compute compute;
};
float formula(int64_t lane, int64_t k) {
  return static_cast<float>((lane * 7 + k * 3) % 31 - 15) / 16;
}

void sources_and_sinks(const char* isa, const GemmKernels& kernels) {
  for (Compute compute : {Compute::kFloat32, Compute::kBFloat16})
    for (int threads : {1, 2}) {
      set_num_threads(threads);
      const int64_t m = 45, n = 77, k = 1300, tokens = 90;
      Buffer x(tokens * k, DType::kFloat32);
      std::vector<int32_t> token(m);
      for (int64_t i = 0; i < m; ++i) token[i] = static_cast<int32_t>((i * 37) % tokens);
      std::vector<float> y(tokens * n, 0.0f);
      const Scatter scatter{y.data(), n, token.data()};
      const Formula source{&kernels, compute};
      GemmArguments g;
      g.m = m, g.n = n, g.k = k, g.compute = compute, g.alpha = 0.5f;
      g.a.dense = {x.data(), x.dtype, k, 1, token.data(), nullptr};
      g.b.context = &source;
      g.b.pack = [](const void* context, const GemmPanels& p) {
        const Formula& f = *static_cast<const Formula*>(context);
        const GemmLayout layout = f.kernels->layout(f.compute);
        const int64_t steps = (p.kc + layout.values_per_step - 1) / layout.values_per_step;
        for (int64_t j = 0; j < p.count; j += p.width) {
          const int64_t lanes = std::min(p.width, p.count - j),
                        width = p.count - j > p.width ? p.width : p.last_width;
          for (int64_t l = 0; l < p.kc; l += 64) {
            const int64_t values = std::min<int64_t>(64, p.kc - l);
            float tile[64 * 64];
            for (int64_t i = 0; i < lanes; ++i)
              for (int64_t v = 0; v < values; ++v)
                tile[i * 64 + v] = formula(p.first + j + i, p.k0 + l + v);
            uint32_t* to = p.to + j * steps + l / layout.values_per_step * width;
            f.kernels->pack_dense(f.compute, {tile, DType::kFloat32, 64, 1, nullptr, nullptr},
                                  {to, 0, lanes, width, width, 0, values});
          }
        }
      };
      g.c.context = &scatter;
      g.c.store = [](const void* context, const GemmTile& tile) {
        const Scatter& s = *static_cast<const Scatter*>(context);
        for (int64_t i = 0; i < tile.rows; ++i)
          for (int64_t j = 0; j < tile.columns; ++j)
            s.y[s.index[tile.row + i] * s.stride + tile.column + j] +=
                tile.values[i * tile.stride + j];
      };
      kernels.gemm(g);
      double worst = 0;
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double sum = 0, size = 0;
          for (int64_t l = 0; l < k; ++l) {
            const double v = x[token[i] * k + l],
                         product =
                             (compute == Compute::kBFloat16 ? round_bf16(v) : v) * formula(j, l);
            sum += product;
            size += std::fabs(product);
          }
          worst = std::max(worst, std::fabs(y[token[i] * n + j] - 0.5 * sum) / (2e-6 * size));
        }
      expect(worst <= 1,
             std::string(isa) + ": a plugin's source and sink: error " + std::to_string(worst));
    }
}

void prepacked_is_checked(const char* isa, const GemmKernels& kernels) {
  std::vector<float> b(64 * 64, 1.0f), c(64 * 64);
  const size_t bytes = kernels.prepacked_bytes(Compute::kFloat32, 64, 64);
  void* packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
  GemmSource source;
  source.dense = {b.data(), DType::kFloat32, 64, 1, nullptr, nullptr};
  kernels.prepack(Compute::kFloat32, 64, 64, source, packed);
  for (int wrong = 0; wrong < 3; ++wrong) {
    MatmulArguments args;
    args.m = 4, args.n = wrong == 0 ? 63 : 64, args.k = 64;
    args.a = {b.data(), DType::kFloat32, 64, 1, 0};
    args.compute = wrong == 1 ? Compute::kBFloat16 : Compute::kFloat32;
    args.prepacked_b = wrong == 2 ? static_cast<const void*>(b.data()) : packed;
    args.c = c.data(), args.c_row_stride = 64;
    bool thrown = false;
    try {
      kernels.matmul(args);
    } catch (const Error&) {
      thrown = true;
    }
    expect(thrown, std::string(isa) + ": a prepacked operand for another product");
  }
  free(packed);
}

}  // namespace
}  // namespace fms_accel

int main(int argc, char** argv) {
  using namespace fms_accel;
  setvbuf(stdout, nullptr, _IOLBF, 0);
  int tested = 0;
  for (const GemmTable& table : gemm_tables()) {
    if (!table.available ||
        (argc > 1 && std::find(argv + 1, argv + argc, std::string(table.isa)) == argv + argc))
      continue;
    ++tested;
    const int before = checks;
    dtypes_and_orientations(table.isa, *table.kernels);
    shapes(table.isa, *table.kernels);
    chunks(table.isa, *table.kernels);
    batches(table.isa, *table.kernels);
    low_rank_tails(table.isa, *table.kernels);
    non_finite(table.isa, *table.kernels);
    sources_and_sinks(table.isa, *table.kernels);
    prepacked_is_checked(table.isa, *table.kernels);
    printf("%s: %d checks\n", table.isa, checks - before);
  }
  if (tested == 0) printf("no such instruction set on this machine\n");
  printf("%d checks, %d failures\n", checks, failures);
  return failures > 0 || tested == 0;
}
