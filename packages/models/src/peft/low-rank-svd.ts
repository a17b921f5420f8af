/** Singular values of a product of low rank, in float64 and without ever making the product. */

/** A matrix as a list of vectors: its columns or its rows. */
export type Vectors = readonly Float64Array[];

/** Below this share of its length, what is left of a vector that others are taken out of is rounding. */
const DEPENDENT = 1e-14;
/** Jacobi's method converges quadratically: five to ten sweeps are usual. */
const MOST_SWEEPS = 60;

/**
 * The best approximation of rank `rank` of Σ column · row (Eckart and Young, 1936): A has the right singular vectors as its rows, B the left
 * ones times the singular values as its columns, largest first. Both have fewer vectors than `rank` where the product has.
 * @param columns of the left factor `[out, n]`
 * @param rows of the right factor `[n, in]`
 */
export function truncatedSvd(columns: Vectors, rows: Vectors, rank: number): { a: Vectors; b: Vectors } {
  const left = orthonormalise(columns);
  const right = orthonormalise(rows);
  // The product is Q_left · core · Q_rightᵀ, with a core of n times n.
  const core = rows.map((_, j) =>
    Float64Array.from(columns, (_column, i) => dot(left.triangle[i]!, right.triangle[j]!)),
  );
  const { rotated, rotations } = rotateApart(core);
  const order = rotated
    .map((column, at) => ({ at, value: Math.sqrt(dot(column, column)) }))
    .sort((x, y) => y.value - x.value)
    .slice(0, rank);
  return {
    a: order.map(({ at }) => combine(right.basis, rotations[at]!)),
    b: order.map(({ at }) => combine(left.basis, rotated[at]!)),
  };
}

/**
 * Gram and Schmidt's method, each vector twice so that rounding leaves the basis orthonormal. `vectors[j]` is Σ triangle[i][j] · basis[i]; a
 * vector that depends on those before it has zeros in the basis.
 */
function orthonormalise(vectors: Vectors): { basis: Vectors; triangle: Vectors } {
  const triangle = vectors.map(() => new Float64Array(vectors.length));
  const basis: Float64Array[] = [];
  for (const [j, vector] of vectors.entries()) {
    const rest = Float64Array.from(vector);
    for (let pass = 0; pass < 2; pass++) {
      for (const [i, unit] of basis.entries()) {
        const share = dot(unit, rest);
        triangle[i]![j]! += share;
        addScaled(rest, unit, -share);
      }
    }
    const length = Math.sqrt(dot(rest, rest));
    if (length <= DEPENDENT * Math.sqrt(dot(vector, vector))) {
      rest.fill(0);
    } else {
      triangle[j]![j] = length;
      rest.forEach((value, at) => (rest[at] = value / length));
    }
    basis.push(rest);
  }
  return { basis, triangle };
}

/**
 * One-sided Jacobi (Hestenes, 1958): pairs of columns are rotated until all are orthogonal; their lengths are the singular values then, and
 * the rotations, as columns, the right singular vectors.
 */
function rotateApart(columns: Vectors): { rotated: Vectors; rotations: Vectors } {
  const rotated = columns.map((column) => Float64Array.from(column));
  const rotations = columns.map((_, at) => Float64Array.from(columns, (_column, i) => (i === at ? 1 : 0)));
  for (let sweep = 0, isDone = false; !isDone && sweep < MOST_SWEEPS; sweep++) {
    isDone = true;
    for (let q = 1; q < rotated.length; q++) {
      for (let p = 0; p < q; p++) {
        const [x, y] = [rotated[p]!, rotated[q]!];
        const [xx, yy, xy] = [dot(x, x), dot(y, y), dot(x, y)];
        if (Math.abs(xy) <= Number.EPSILON * Math.sqrt(xx * yy)) {
          continue;
        }
        isDone = false;
        const zeta = (yy - xx) / (2 * xy);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        rotate(x, y, tangent);
        rotate(rotations[p]!, rotations[q]!, tangent);
      }
    }
  }
  return { rotated, rotations };
}

function rotate(x: Float64Array, y: Float64Array, tangent: number): void {
  const cosine = 1 / Math.hypot(1, tangent);
  const sine = cosine * tangent;
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i]!, y[i]!];
    x[i] = cosine * a - sine * b;
    y[i] = sine * a + cosine * b;
  }
}

function combine(vectors: Vectors, factors: Float64Array): Float64Array {
  const sum = new Float64Array(vectors[0]?.length ?? 0);
  vectors.forEach((vector, at) => addScaled(sum, vector, factors[at]!));
  return sum;
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    sum += x[i]! * y[i]!;
  }
  return sum;
}

function addScaled(into: Float64Array, x: Float64Array, factor: number): void {
  for (let i = 0; i < into.length; i++) {
    into[i]! += factor * x[i]!;
  }
}
