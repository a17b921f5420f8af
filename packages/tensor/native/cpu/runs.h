// Reducing runs of elements: what sums, softmax and losses share.
#pragma once
#include <cmath>

#include "cpu/elements.h"
#include "cpu/vector_math.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {

constexpr int64_t kItem =
    16 * kRun;  // elements that one parallel item reads at least, where there are as many

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }

// body(begin, end) for every run of `numel` elements, items of kItem over the threads.
template <class Body>
inline void for_each_run(int64_t numel, const Body& body) {
  parallel_for(ceil_div(numel, kItem), [&](int64_t item, int) {
    const int64_t end = min_of(numel, (item + 1) * kItem);
    for (int64_t at = item * kItem; at < end; at += kRun) body(at, min_of(at + kRun, end));
  });
}

// A tensor whose elements lie one behind the other.
inline Loop flat_loop(int64_t numel) {
  Loop loop;
  loop.ndim = 1;
  loop.shape[0] = loop.numel = numel;
  return loop;
}

inline Operand flat_operand(const FlatTensor& tensor) { return {tensor.data, tensor.dtype, {1}}; }

// A reduction has: Compute, what elements are loaded as; Total, what runs are combined in; the
// neutral element; join, the operation itself on both types.
template <class ComputeType, class TotalType>
struct Add {
  using Compute = ComputeType;
  using Total = TotalType;
  template <class T>
  static T neutral() {
    return 0;
  }
  static float join(float a, float b) { return a + b; }
  static double join(double a, double b) { return a + b; }
  static int64_t join(int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  }
};
// NaN wins over everything.
template <class Type>
struct Largest {
  using Compute = Type;
  using Total = Type;
  template <class T>
  static T neutral() {
    if constexpr (__is_same(T, float)) return -__builtin_inff();
    return INT64_MIN;
  }
  static Type join(Type a, Type b) { return b > a || b != b ? b : a; }
};
template <class Type>
struct Smallest {
  using Compute = Type;
  using Total = Type;
  template <class T>
  static T neutral() {
    if constexpr (__is_same(T, float)) return __builtin_inff();
    return INT64_MAX;
  }
  static Type join(Type a, Type b) { return b < a || b != b ? b : a; }
};

// A run of values: 32 running results side by side, then joined pairwise.
template <class Op>
inline typename Op::Total join_run(const typename Op::Compute* values, int64_t count) {
  using Total = typename Op::Total;
  constexpr int64_t kLanes = 32;
  alignas(64) Total lanes[kLanes];
  for (int64_t j = 0; j < kLanes; ++j) lanes[j] = Op::template neutral<Total>();
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j)
      lanes[j] = Op::join(lanes[j], static_cast<Total>(values[i + j]));
  }
  for (int64_t j = 0; i + j < count; ++j)
    lanes[j] = Op::join(lanes[j], static_cast<Total>(values[i + j]));
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t j = 0; j < width; ++j) lanes[j] = Op::join(lanes[j], lanes[j + width]);
  }
  return lanes[0];
}

// Values rounded to the element's dtype, as the composed form of an operation stores them between
// two steps.
template <class Element>
inline void round_run(Element element, float* values, int64_t count) {
  if constexpr (sizeof(typename Element::Storage) < sizeof(float)) {
    alignas(64) typename Element::Storage stored[kRun];
    store_elements(element, values, stored, count);
    load_elements(element, stored, values, count);
  }
}

// Sum of e^(x - largest) over a row; grows run by run, so a row is read once.
struct ExponentialSum {
  float largest = -__builtin_inff();
  double total = 0;

  // What exponents are taken relative to; an infinite largest value would give inf - inf.
  float shift() const { return __builtin_fabsf(largest) == __builtin_inff() ? 0.0f : largest; }
  double log() const { return static_cast<double>(shift()) + std::log(total); }

  void add(const float* values, int64_t count) {
    alignas(64) float exponentials[kRun];
    const float before = shift();
    largest = Largest<float>::join(largest, join_run<Largest<float>>(values, count));
    const float now = shift();
    if (now != before && total != 0)
      total *= std::exp(static_cast<double>(before) - static_cast<double>(now));
    for (int64_t i = 0; i < count; ++i) exponentials[i] = exp_of(values[i] - now);
    total += join_run<Add<float, double>>(exponentials, count);
  }
};

inline ExponentialSum sum_exponentials(const Loop& loop, const Operand& row) {
  alignas(64) float buffer[kRun];
  ExponentialSum sum;
  for (int64_t at = 0; at < loop.numel; at += kRun) {
    const int64_t end = min_of(at + kRun, loop.numel);
    sum.add(load_run<float>(loop, row, at, end, buffer), end - at);
  }
  return sum;
}

}  // namespace fms_accel::FMS_ACCEL_ISA
