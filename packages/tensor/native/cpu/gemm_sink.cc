#include "cpu/gemm_sink.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

template <class T>
FMS_ACCEL_INLINE Floats load_some(const T* p, int count) {
  return count == kLanes ? load_floats(p) : load_floats(p, count);
}
template <class T>
FMS_ACCEL_INLINE void store_some(T* p, Floats v, int count) {
  if (count == kLanes) store_floats(p, v);
  else store_floats(p, v, count);
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
  const bool to_c = place.last && g.c.store == nullptr, by_columns = g.c.column_stride != 1;
  for (int64_t i = 0; i < place.rows; ++i) {
    float* row = values + i * kTileColumns;
    float* sums = place.sums == nullptr ? nullptr : place.sums + i * place.sums_stride;
    C* c = static_cast<C*>(g.c.data) + (place.row + i) * g.c.row_stride + place.column * g.c.column_stride;
    for (int64_t j = 0; j < place.columns; j += kLanes) {
      const int count = static_cast<int>(min_of(place.columns - j, kLanes));
      Floats v = load_floats(row + j);
      if (g.alpha != 1) v = multiply(broadcast(g.alpha), v);
      if (!place.first) {
        v = add(v, load_some(sums + j, count));
      } else {
        if (g.beta != 0) {
          const Floats old = by_columns ? load_apart(c + j * g.c.column_stride, g.c.column_stride, count) : load_some(c + j, count);
          v = add(v, multiply(broadcast(g.beta), old));
        }
        if (g.bias != nullptr) v = add(v, load_some(static_cast<const Bias*>(g.bias) + place.column + j, count));
      }
      if (!to_c) store_some(place.last ? row + j : sums + j, v, count);
      else if (by_columns) store_apart(c + j * g.c.column_stride, g.c.column_stride, v, count);
      else store_some(c + j, v, count);
    }
  }
}

}  // namespace

void finish_tile(const GemmArguments& g, const TilePlace& place, float* values) {
  with_floating(g.c.dtype, [&](auto c) {
    with_floating(g.bias_dtype, [&](auto bias) { finish<decltype(c), decltype(bias)>(g, place, values); });
  });
  if (place.last && g.c.store != nullptr) {
    g.c.store(g.c.context, {place.row, place.rows, place.column, place.columns, kTileColumns, values});
  }
}

}  // namespace fms_accel::FMS_ACCEL_ISA
