// The register tile: kTileRows broadcast rows times two vectors of columns, summed over units (see
// FloatStep). All products of attention are made of it.
#pragma once
#include "cpu/vectors.h"

namespace fms_accel::FMS_ACCEL_ISA {

// sums[i][v] = sum over k of A(i, k) * B(k, lanes of vector v). Unit A(i, k) is
// a[i * RowStride + k * UnitStride]; B is a panel of kTileColumns lanes a unit, of which the first
// `Vectors` vectors are used.
template <class Step, int Vectors, int RowStride, int UnitStride>
FMS_ACCEL_INLINE void multiply(int64_t units, const float* a, const float* b,
                               Floats (&sums)[kTileRows][Vectors]) {
  FMS_ACCEL_UNROLL
  for (int i = 0; i < kTileRows; ++i) {
    FMS_ACCEL_UNROLL
    for (int v = 0; v < Vectors; ++v) sums[i][v] = broadcast(0);
  }
  for (int64_t k = 0; k < units; ++k, a += UnitStride, b += kTileColumns) {
    Floats columns[Vectors];
    FMS_ACCEL_UNROLL
    for (int v = 0; v < Vectors; ++v) columns[v] = load_floats(b + v * kLanes);
    FMS_ACCEL_UNROLL
    for (int i = 0; i < kTileRows; ++i) {
      const Floats row = broadcast(a[i * RowStride]);
      FMS_ACCEL_UNROLL
      for (int v = 0; v < Vectors; ++v)
        sums[i][v] = Step::multiply_add(row, columns[v], sums[i][v]);
    }
  }
}

// The same, then done(i, v, sums[i][v]) for each vector.
template <class Step, int Vectors, int RowStride, int UnitStride, class Done>
FMS_ACCEL_INLINE void tile(int64_t units, const float* a, const float* b, const Done& done) {
  Floats sums[kTileRows][Vectors];
  multiply<Step, Vectors, RowStride, UnitStride>(units, a, b, sums);
  FMS_ACCEL_UNROLL
  for (int i = 0; i < kTileRows; ++i) {
    FMS_ACCEL_UNROLL
    for (int v = 0; v < Vectors; ++v) done(i, v, sums[i][v]);
  }
}

// Over all columns (a multiple of kLanes) of a product, whose panels lie `panel` floats apart:
// done(i, first column of the vector, vector).
template <class Step, int RowStride, int UnitStride, class Done>
FMS_ACCEL_INLINE void product(int64_t columns, int64_t units, const float* a, const float* b,
                              int64_t panel, const Done& done) {
  int64_t c = 0;
  for (; c + kTileColumns <= columns; c += kTileColumns, b += panel) {
    tile<Step, 2, RowStride, UnitStride>(
        units, a, b, [&](int i, int v, Floats x) { done(i, c + v * kLanes, x); });
  }
  if (c < columns) {
    tile<Step, 1, RowStride, UnitStride>(units, a, b, [&](int i, int, Floats x) { done(i, c, x); });
  }
}

// to[kTileRows][columns] += the product.
template <class Step, int RowStride, int UnitStride>
FMS_ACCEL_INLINE void add_product(int64_t columns, int64_t units, const float* a, const float* b,
                                  int64_t panel, float* to) {
  product<Step, RowStride, UnitStride>(columns, units, a, b, panel,
                                       [&](int i, int64_t c, Floats x) {
                                         float* sum = to + i * columns + c;
                                         store_floats(sum, load_floats(sum) + x);
                                       });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
