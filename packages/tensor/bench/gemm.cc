// GFLOP/s of GEMM and its share of the peak, which is measured between the products of every row of
// the table: a share then holds also where the clock changes or others use the machine. Prints a
// table; see `--help`.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "cpu/matmul.h"
#include "engine/thread_pool.h"
#include "test/gemm_tables.h"

namespace fms_accel {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(const std::function<void()>& run) {
  const auto start = Clock::now();
  run();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// ---- Peak: twelve independent chains of multiply-adds in registers ------------------------------

#define FMS_ACCEL_LINE(operation, reg, i) operation " %%" reg "12, %%" reg "13, %%" reg #i "\n"
#define FMS_ACCEL_TWO_OPERANDS(i) "mulps %%xmm14, %%xmm15\n addps %%xmm12, %%xmm" #i "\n"
#define FMS_ACCEL_CHAINS(line) \
  line(0) line(1) line(2) line(3) line(4) line(5) line(6) line(7) line(8) line(9) line(10) line(11)
#define FMS_ACCEL_LOOP(body)                                                                \
  asm volatile("1:\n" body "dec %0\n jnz 1b\n"                                              \
               : "+r"(steps)::"cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", \
                 "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")
#define FMS_ACCEL_ZMM_FMA(i) FMS_ACCEL_LINE("vfmadd231ps", "zmm", i)
#define FMS_ACCEL_ZMM_BF16(i) FMS_ACCEL_LINE("vdpbf16ps", "zmm", i)
#define FMS_ACCEL_YMM_FMA(i) FMS_ACCEL_LINE("vfmadd231ps", "ymm", i)

struct Peak {
  void (*chains)(long steps);
  double flops;  // of one instruction
};

#if defined(__x86_64__)
void zeros() {
  asm volatile(
      "xorps %%xmm12, %%xmm12\n xorps %%xmm13, %%xmm13\n xorps %%xmm14, %%xmm14\n xorps %%xmm15, "
      "%%xmm15\n" ::
          : "xmm12", "xmm13", "xmm14", "xmm15");
}
Peak peak_of(const std::string& isa, Compute compute) {
  if (isa == "avx512_bf16" && compute == Compute::kBFloat16) {
    return {[](long steps) { FMS_ACCEL_LOOP(FMS_ACCEL_CHAINS(FMS_ACCEL_ZMM_BF16)); }, 64};
  }
  if (isa == "avx512_bf16" || isa == "avx512") {
    return {[](long steps) { FMS_ACCEL_LOOP(FMS_ACCEL_CHAINS(FMS_ACCEL_ZMM_FMA)); }, 32};
  }
  if (isa == "avx2")
    return {[](long steps) { FMS_ACCEL_LOOP(FMS_ACCEL_CHAINS(FMS_ACCEL_YMM_FMA)); }, 16};
  return {[](long steps) { FMS_ACCEL_LOOP(FMS_ACCEL_CHAINS(FMS_ACCEL_TWO_OPERANDS)); }, 8};
}
#else
void zeros() {}
// Elsewhere the compiler's own vectors: a lower bound of the peak.
Peak peak_of(const std::string&, Compute) {
  return {[](long steps) {
            typedef float Lanes __attribute__((vector_size(16)));
            Lanes sums[12] = {}, a = {1, 1, 1, 1};
            for (; steps > 0; --steps)
              for (Lanes& sum : sums) sum = sum * a + a;
            for (Lanes& sum : sums) asm volatile("" ::"w"(sum));
          },
          8};
}
#endif

// GFLOP/s of `threads` threads in one short burst.
double peak_burst(const Peak& peak, int threads) {
  constexpr long kSteps = 400'000;
  const double time = seconds([&] {
    parallel_for(threads, [&](int64_t, int) {
      zeros();
      peak.chains(kSteps);
    });
  });
  return threads * 12.0 * peak.flops * kSteps / time / 1e9;
}

// ---- Products -----------------------------------------------------------------------------------

struct Types {
  const char* name;
  DType operands, c;
  Compute compute;
};
const Types kTypes[] = {{"f32", DType::kFloat32, DType::kFloat32, Compute::kFloat32},
                        {"bf16", DType::kBFloat16, DType::kBFloat16, Compute::kBFloat16},
                        {"bf16>f32", DType::kBFloat16, DType::kFloat32, Compute::kBFloat16}};

struct Row {
  std::string group, product, types;
  int64_t out, in, rows;
  int threads;
  double gflops = 0, peak = 0, gigabytes = 0;
};

struct Options {
  bool json = false, quick = false, only_peak = false;
  std::string isa, filter;
  std::vector<int> threads = {1, 2};
  double budget = 0.12;  // seconds a row
};

// An operand large enough for all rows, filled as far as is needed: values do not change the time.
class Memory {
 public:
  Memory(size_t words, uint32_t seed) : seed_(seed) {
    constexpr size_t kHugePage = size_t{2} << 20;  // as the engine's allocator has it
    const size_t bytes = (4 * words + kHugePage - 1) / kHugePage * kHugePage;
    data_ = static_cast<uint32_t*>(aligned_alloc(kHugePage, bytes));
#ifdef __linux__
    if (getenv("FMS_ACCEL_BENCH_SMALL_PAGES") == nullptr) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
  }
  ~Memory() { free(data_); }
  void* first(int64_t bytes) {
    for (; 4 * filled_ < static_cast<size_t>(bytes); ++filled_) {
      seed_ = seed_ * 1664525u + 1013904223u;
      data_[filled_] =
          0x3f003f00u |
          (seed_ >> 9 & 0x807f807fu);  // two bfloat16 between 0.5 and 1, also as one float
    }
    return data_;
  }

 private:
  uint32_t* data_;
  size_t filled_ = 0;
  uint32_t seed_;
};

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {
    for (const GemmTable& table : gemm_tables()) {
      if (table.available && (options.isa.empty() || options.isa == table.isa)) {
        table_ = table;
        break;
      }
    }
    if (table_.kernels == nullptr) {
      fprintf(stderr, "instruction set %s is not available here\n", options.isa.c_str());
      exit(2);
    }
    if (!options_.json)
      printf("%-7s %-9s %-9s %5s x %-5s %5s thr %8s %8s %6s %7s\n", "group", "product", "types",
             "out", "in", "rows", "GFLOP/s", "peak", "share", "GB/s");
  }

  const char* isa() const { return table_.isa; }

  // y[rows, out] = x * w^T; dx[rows, in] = dy * w; dw[out, in] = dy^T * x; "prepacked" is forward
  // with a prepacked w.
  void measure(const std::string& group, const std::string& product, const Types& types,
               int64_t out, int64_t in, int64_t rows, int threads) {
    const std::string key = group + " " + product + " " + types.name + " " + std::to_string(out) +
                            "x" + std::to_string(in) + " " + std::to_string(rows) + " " +
                            std::to_string(threads);
    if (!options_.filter.empty() && key.find(options_.filter) == std::string::npos) return;
    set_num_threads(threads);
    MatmulArguments args;
    const DType dtype = types.operands;
    const auto size = [](int64_t numbers, DType type) {
      return numbers * static_cast<int64_t>(item_size(type));
    };
    void *w = weight_.first(size(out * in, dtype)), *x = input_.first(size(rows * in, dtype));
    void* dy = gradient_.first(size(rows * out, dtype));
    if (product == "dx") {
      args.m = rows, args.n = in, args.k = out;
      args.a = {dy, dtype, out, 1, 0}, args.b = {w, dtype, in, 1, 0};
    } else if (product == "dw") {
      args.m = out, args.n = in, args.k = rows;
      args.a = {dy, dtype, 1, out, 0}, args.b = {x, dtype, in, 1, 0};
    } else {
      args.m = rows, args.n = out, args.k = in;
      args.a = {x, dtype, in, 1, 0}, args.b = {w, dtype, 1, in, 0};
    }
    args.c = result_.first(size(args.m * args.n, types.c)), args.c_dtype = types.c,
    args.c_row_stride = args.n, args.compute = types.compute;
    void* packed = nullptr;
    if (product == "prepacked") {
      GemmSource source;
      source.dense = {w, dtype, in, 1, nullptr, nullptr};
      packed = aligned_alloc(
          64, (table_.kernels->prepacked_bytes(types.compute, args.n, args.k) + 63) / 64 * 64);
      table_.kernels->prepack(types.compute, args.n, args.k, source, packed);
      args.prepacked_b = packed;
    }
    const double flops = 2.0 * static_cast<double>(args.m * args.n * args.k);
    const Peak peak = peak_of(isa(), types.compute);
    Row row{group, product, types.name, out, in, rows, threads};
    const auto run = [&] { table_.kernels->matmul(args); };
    run();
    double best = 1e30;
    const auto deadline = Clock::now() + std::chrono::duration<double>(options_.budget);
    do {
      row.peak = std::max(row.peak, peak_burst(peak, threads));
      for (double spent = 0; spent < 0.01;) {
        const double time = seconds(run);
        best = std::min(best, time);
        spent += time;
      }
      row.peak = std::max(row.peak, peak_burst(peak, threads));
    } while (Clock::now() < deadline);
    free(packed);
    const double item = static_cast<double>(item_size(dtype));
    const double bytes =
        item * static_cast<double>(args.m * args.k + args.k * args.n) +
        static_cast<double>(item_size(types.c)) * static_cast<double>(args.m * args.n);
    row.gflops = flops / best / 1e9;
    row.gigabytes = bytes / best / 1e9;
    print(row);
  }

 private:
  void print(const Row& r) {
    if (options_.json) {
      printf(
          "{\"isa\":\"%s\",\"group\":\"%s\",\"product\":\"%s\",\"types\":\"%s\",\"out\":%ld,\"in\":"
          "%ld,\"rows\":%ld,\"threads\":%d,"
          "\"gflops\":%.2f,\"peak\":%.2f,\"share\":%.4f,\"gigabytes\":%.2f}\n",
          isa(), r.group.c_str(), r.product.c_str(), r.types.c_str(), static_cast<long>(r.out),
          static_cast<long>(r.in), static_cast<long>(r.rows), r.threads, r.gflops, r.peak,
          r.gflops / r.peak, r.gigabytes);
    } else {
      printf("%-7s %-9s %-9s %5ld x %-5ld %5ld %3d %8.1f %8.1f %5.1f%% %7.1f\n", r.group.c_str(),
             r.product.c_str(), r.types.c_str(), static_cast<long>(r.out), static_cast<long>(r.in),
             static_cast<long>(r.rows), r.threads, r.gflops, r.peak, 100 * r.gflops / r.peak,
             r.gigabytes);
    }
    fflush(stdout);
  }

  Options options_;
  GemmTable table_{};
  Memory weight_{size_t{49152} * 2048 / 2, 1}, input_{size_t{2048} * 8192, 2},
      gradient_{size_t{2048} * 49152, 3}, result_{size_t{2048} * 49152, 4};
};

void run_all(Bench& bench, const Options& options) {
  const int64_t shapes[][2] = {{576, 576},   {1536, 576},  {576, 1536},
                               {2048, 2048}, {8192, 2048}, {49152, 576}};
  for (int threads : options.threads)
    for (const Types& types : kTypes)
      for (const auto& [out, in] : shapes)
        for (const char* product : {"forward", "dx", "dw", "prepacked"})
          for (int64_t rows : {16, 128, 512, 2048}) {
            if (options.quick && (rows == 16 || rows == 2048 || out == 49152)) continue;
            bench.measure("dense", product, types, out, in, rows, threads);
          }
  // LoRA: down (out = r), up (in = r), and the gradients of both.
  for (int threads : options.threads)
    for (const Types& types : kTypes)
      for (const auto& [out, in] : {std::pair<int64_t, int64_t>{16, 576},
                                    {16, 2048},
                                    {64, 2048},
                                    {576, 16},
                                    {2048, 16},
                                    {2048, 64}})
        for (const char* product : {"forward", "dx", "dw"})
          for (int64_t rows : {512, 2048}) {
            if (options.quick && rows == 512) continue;
            bench.measure("lora", product, types, out, in, rows, threads);
          }
  for (int threads : options.threads)
    for (const Types& types : kTypes)
      for (const auto& [out, in] :
           {std::pair<int64_t, int64_t>{576, 576}, {2048, 2048}, {8192, 2048}, {49152, 576}})
        for (const char* product : {"forward", "prepacked"})
          for (int64_t rows : {1, 2, 4, 8}) {
            if (options.quick && rows != 1) continue;
            bench.measure("decode", product, types, out, in, rows, threads);
          }
}

// What the machine can do now, for benchmarks of other kernels to compare with: one line of JSON.
void print_peaks(const Options& options) {
  std::string isa = options.isa;
  for (const GemmTable& table : gemm_tables())
    if (isa.empty() && table.available) isa = table.isa;
  for (int threads : options.threads) {
    set_num_threads(threads);
    double best[2] = {0, 0};
    for (int burst = 0; burst < 6; ++burst)
      for (Compute compute : {Compute::kFloat32, Compute::kBFloat16}) {
        double& peak = best[compute == Compute::kBFloat16 ? 1 : 0];
        peak = std::max(peak, peak_burst(peak_of(isa, compute), threads));
      }
    printf("{\"isa\":\"%s\",\"threads\":%d,\"float32\":%.2f,\"bfloat16\":%.2f}\n", isa.c_str(),
           threads, best[0], best[1]);
  }
}

int main_of(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value = [&] { return i + 1 < argc ? std::string(argv[++i]) : std::string(); };
    if (argument == "--json")
      options.json = true;
    else if (argument == "--quick")
      options.quick = true;
    else if (argument == "--peak")
      options.only_peak = true;
    else if (argument == "--isa")
      options.isa = value();
    else if (argument == "--filter")
      options.filter = value();
    else if (argument == "--budget")
      options.budget = atof(value().c_str());
    else if (argument == "--threads")
      options.threads = {atoi(value().c_str())};
    else {
      printf(
          "gemm [--json] [--quick] [--peak] [--isa NAME] [--threads N] [--budget SECONDS A ROW] "
          "[--filter "
          "TEXT]\n"
          "TEXT is part of a row's \"group product types OUTxIN rows threads\", e.g. \"dx bf16 "
          "2048x2048\"\n");
      return argument == "--help" ? 0 : 2;
    }
  }
  if (options.only_peak) {
    print_peaks(options);
    return 0;
  }
  Bench bench(options);
  if (!options.json)
    printf("instruction set %s; share is of the peak measured between the products\n", bench.isa());
  run_all(bench, options);
  return 0;
}

}  // namespace
}  // namespace fms_accel

int main(int argc, char** argv) { return fms_accel::main_of(argc, argv); }
