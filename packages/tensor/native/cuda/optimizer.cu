// What an optimiser does to a list of tensors: norm, scaling, AdamW. The tables of pointers travel
// as kernel parameters, some dozens of tensors a launch.
#include <algorithm>

#include "cuda/elements.h"
#include "cuda/kernel_sources.h"
#include "cuda/reduction.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kPiece = 1 << 14;  // elements of one block
constexpr int kTensors = 40;         // of one launch: parameters hold at most 4 KiB

// Some tensors of a list, cut into pieces; block b works on a piece of the tensor t with
// first[t] <= b < first[t + 1].
template <class Tensor>
struct List {
  int count;
  int64_t first[kTensors + 1];
  Tensor tensors[kTensors];

  __device__ __forceinline__ int tensor_of(int64_t block) const {
    int low = 0, high = count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (first[middle] <= block) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }
};

// Calls body(list) with every part of the tensors that holds elements.
template <class Tensor, class NumelOf, class Body>
void for_each_list(const Tensor* tensors, int64_t count, const NumelOf& numel_of,
                   const Body& body) {
  List<Tensor> list{};
  const auto flush = [&] {
    if (list.count > 0) body(list);
    list.count = 0;
  };
  for (int64_t t = 0; t < count; ++t) {
    const int64_t pieces = ceil_div(numel_of(tensors[t]), kPiece);
    if (pieces == 0) continue;
    list.tensors[list.count] = tensors[t];
    list.first[list.count + 1] = list.first[list.count] + pieces;
    if (++list.count == kTensors) flush();
  }
  flush();
}

dim3 grid_of(int64_t pieces) { return dim3(static_cast<unsigned>(pieces)); }

__global__ void __launch_bounds__(kThreads) square_pieces(List<FlatTensor> list, double* partial) {
  const int t = list.tensor_of(blockIdx.x);
  const FlatTensor& tensor = list.tensors[t];
  const int64_t begin = (blockIdx.x - list.first[t]) * kPiece,
                end = min_of(tensor.numel, begin + kPiece);
  double own = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    // In float64 the square of any float32 neither overflows nor vanishes.
    const double value = load<double>(tensor.data, tensor.dtype, i);
    own += value * value;
  }
  own = block_join<Sum<double>, kThreads>(own);
  if (threadIdx.x == 0) partial[blockIdx.x] = own;
}

__global__ void __launch_bounds__(kThreads)
    add_partials(const double* partial, int64_t count, double* total) {
  double own = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) own += partial[i];
  own = block_join<Sum<double>, kThreads>(own);
  if (threadIdx.x == 0) *total = own;
}

__global__ void __launch_bounds__(kThreads)
    scale_pieces(List<FlatTensor> list, float factor, int* others) {
  const int t = list.tensor_of(blockIdx.x);
  const FlatTensor& tensor = list.tensors[t];
  const int64_t begin = (blockIdx.x - list.first[t]) * kPiece,
                end = min_of(tensor.numel, begin + kPiece);
  bool is_finite = true;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const float value = load<float>(tensor.data, tensor.dtype, i);
    is_finite = is_finite && (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
    if (factor != 1.0f) store<float>(tensor.data, tensor.dtype, i, value * factor);
  }
  if (!is_finite) atomicExch(others, 1);
}

// From the sum of squares: outcome as in cpu/kernels.h, and the factor that clips.
__global__ void decide_clipping(const double* total, double max_norm, const float* values,
                                int64_t count, float* outcome, float* factor) {
  const auto is_finite = [](float value) {
    return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
  };
  const float norm = static_cast<float>(sqrt(*total));
  bool all_finite = is_finite(norm);
  for (int64_t i = 0; i < count; ++i) all_finite = all_finite && is_finite(values[i]);
  outcome[0] = norm;
  outcome[1] = all_finite ? 1.0f : 0.0f;
  const double ratio = max_norm / (static_cast<double>(norm) + 1e-6);
  *factor = ratio >= 1 ? 1.0f : static_cast<float>(ratio);
}

__global__ void __launch_bounds__(kThreads)
    clip_pieces(List<FlatTensor> list, const float* factor) {
  const float by = *factor;
  if (by == 1.0f) return;
  const int t = list.tensor_of(blockIdx.x);
  const FlatTensor& tensor = list.tensors[t];
  const int64_t begin = (blockIdx.x - list.first[t]) * kPiece,
                end = min_of(tensor.numel, begin + kPiece);
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads)
    store<float>(tensor.data, tensor.dtype, i, load<float>(tensor.data, tensor.dtype, i) * by);
}

struct AdamW {
  float weight1, weight2, keep2, eps;
};

__global__ void __launch_bounds__(kThreads)
    adamw_pieces(List<AdamWTensor> list, AdamW a, const float* outcome) {
  if (outcome != nullptr && outcome[1] == 0.0f) return;
  const int t = list.tensor_of(blockIdx.x);
  const AdamWTensor& tensor = list.tensors[t];
  const int64_t begin = (blockIdx.x - list.first[t]) * kPiece,
                end = min_of(tensor.parameter.numel, begin + kPiece);
  const float* numbers = tensor.numbers;
  const float decay = numbers == nullptr ? tensor.decay : numbers[0],
              step_size = numbers == nullptr ? tensor.step_size : numbers[1],
              correction = numbers == nullptr ? tensor.correction : numbers[2];
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const float p = load<float>(tensor.parameter.data, tensor.parameter.dtype, i);
    const float g = load<float>(tensor.gradient.data, tensor.gradient.dtype, i);
    float m = tensor.exp_avg[i], v = tensor.exp_avg_sq[i];
    // In torch's order of operations.
    m = a.weight1 < 0.5f ? m + a.weight1 * (g - m) : g - (g - m) * (1.0f - a.weight1);
    v = v * a.keep2 + a.weight2 * g * g;
    tensor.exp_avg[i] = m;
    tensor.exp_avg_sq[i] = v;
    store<float>(tensor.parameter.data, tensor.parameter.dtype, i,
                 p * decay - step_size * (m / (sqrtf(v) / correction + a.eps)));
  }
}

int64_t numel_of_flat(const FlatTensor& tensor) { return tensor.numel; }

int64_t pieces_of(const FlatTensor* tensors, int64_t count) {
  int64_t pieces = 0;
  for (int64_t t = 0; t < count; ++t) pieces += ceil_div(tensors[t].numel, kPiece);
  return pieces;
}

// Enqueues partial [pieces + 1]: the last one is the sum over all tensors.
void add_squares(const FlatTensor* tensors, int64_t count, int64_t pieces, double* partial) {
  int64_t done = 0;
  for_each_list(tensors, count, numel_of_flat, [&](const List<FlatTensor>& list) {
    launch(square_pieces, grid_of(list.first[list.count]), dim3(kThreads), 0, list, partial + done);
    done += list.first[list.count];
  });
  launch(add_partials, dim3(1), dim3(kThreads), 0, partial, pieces, partial + pieces);
}

}  // namespace

double sum_of_squares(const FlatTensor* tensors, int64_t count) {
  const int64_t pieces = pieces_of(tensors, count);
  if (pieces == 0) return 0;
  const Scratch scratch(static_cast<size_t>(pieces + 1) * sizeof(double));
  double* partial = scratch.as<double>();
  add_squares(tensors, count, pieces, partial);
  double total;
  read_back(&total, partial + pieces, sizeof total);
  return total;
}

bool scale(const FlatTensor* tensors, int64_t count, float factor, bool asks) {
  const Scratch scratch(sizeof(int));
  require(cudaMemsetAsync(scratch.as<void>(), 0, sizeof(int), current_stream()));
  for_each_list(tensors, count, numel_of_flat, [&](const List<FlatTensor>& list) {
    launch(scale_pieces, grid_of(list.first[list.count]), dim3(kThreads), 0, list, factor,
           scratch.as<int>());
  });
  if (!asks) return true;
  int others;
  read_back(&others, scratch.as<int>(), sizeof others);
  return others == 0;
}

void clip(const FlatTensor* tensors, int64_t count, double max_norm, const float* values,
          int64_t value_count, float* outcome) {
  const int64_t pieces = pieces_of(tensors, count);
  const Scratch squares(static_cast<size_t>(pieces + 1) * sizeof(double)), factor(sizeof(float));
  double* partial = squares.as<double>();
  add_squares(tensors, count, pieces, partial);
  launch(decide_clipping, dim3(1), dim3(1), 0, partial + pieces, max_norm, values, value_count,
         outcome, factor.as<float>());
  for_each_list(tensors, count, numel_of_flat, [&](const List<FlatTensor>& list) {
    launch(clip_pieces, grid_of(list.first[list.count]), dim3(kThreads), 0, list,
           factor.as<float>());
  });
}

void adamw(const AdamWTensor* tensors, int64_t count, double beta1, double beta2, float eps,
           const float* outcome) {
  const AdamW a{static_cast<float>(1 - beta1), static_cast<float>(1 - beta2),
                static_cast<float>(beta2), eps};
  for_each_list(
      tensors, count, [](const AdamWTensor& tensor) { return tensor.parameter.numel; },
      [&](const List<AdamWTensor>& list) {
        launch(adamw_pieces, grid_of(list.first[list.count]), dim3(kThreads), 0, list, a, outcome);
      });
}

}  // namespace fms_accel::cuda
