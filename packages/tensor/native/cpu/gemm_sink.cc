#include "cpu/gemm_sink.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

template <class T>
FMS_ACCEL_INLINE Floats load_some(const T* p, int count) {
  return count == kLanes ? load_floats(p) : load_floats(p, count);
}
template <class T>
FMS_ACCEL_INLINE void store_some(T* p, Floats v, int count) {
  if (count == kLanes)
    store_floats(p, v);
  else
    store_floats(p, v, count);
}

// Elements `stride` apart, through a buffer: C by columns.
template <class T>
FMS_ACCEL_INLINE Floats load_apart(const T* p, int64_t stride, int count) {
  alignas(64) T values[kLanes] = {};
  for (int i = 0; i < count; ++i) values[i] = p[i * stride];
  return load_floats(values);
}
template <class T>
FMS_ACCEL_INLINE void store_apart(T* p, int64_t stride, Floats v, int count) {
  alignas(64) T values[kLanes];
  store_floats(values, v);
  for (int i = 0; i < count; ++i) p[i * stride] = values[i];
}

template <class C, class Bias>
void finish(const GemmArguments& g, const TilePlace& place, float* values) {
  // Copies: the compiler must assume that a store to `values` changes what it refers to.
  const float alpha = g.alpha, beta = place.first ? g.beta : 0;
  const int64_t columns = place.columns, row_stride = g.c.row_stride,
                column_stride = g.c.column_stride;
  const int64_t sums_stride = place.sums_stride;
  const bool to_sums = !place.last, to_c = place.last && g.c.store == nullptr;
  float* sums = place.sums;
  C* c = static_cast<C*>(g.c.data) + place.row * row_stride + place.column * column_stride;
  const Bias* bias =
      place.first && g.bias != nullptr ? static_cast<const Bias*>(g.bias) + place.column : nullptr;
  const bool adds_sums = !place.first;
  for (int64_t i = place.rows; i > 0;
       --i, values += kTileColumns, sums += sums_stride, c += row_stride) {
    for (int64_t j = 0; j < columns; j += kLanes) {
      const int count = static_cast<int>(min_of(columns - j, kLanes));
      Floats v = load_floats(values + j);
      if (alpha != 1) v = multiply(broadcast(alpha), v);
      if (adds_sums) v = add(v, load_some(sums + j, count));
      if (beta != 0) {
        const C* old = c + j * column_stride;
        v = add(v, multiply(broadcast(beta), column_stride == 1
                                                 ? load_some(old, count)
                                                 : load_apart(old, column_stride, count)));
      }
      if (bias != nullptr) v = add(v, load_some(bias + j, count));
      if (to_sums)
        store_some(sums + j, v, count);
      else if (!to_c)
        store_floats(values + j, v);
      else if (column_stride == 1)
        store_some(c + j, v, count);
      else
        store_apart(c + j * column_stride, column_stride, v, count);
    }
  }
}

}  // namespace

void finish_tile(const GemmArguments& g, const TilePlace& place, float* values) {
  with_floating(g.c.dtype, [&](auto c) {
    with_floating(g.bias_dtype,
                  [&](auto bias) { finish<decltype(c), decltype(bias)>(g, place, values); });
  });
  if (place.last && g.c.store != nullptr) {
    g.c.store(g.c.context,
              {place.row, place.rows, place.column, place.columns, kTileColumns, values});
  }
}

}  // namespace fms_accel::FMS_ACCEL_ISA
