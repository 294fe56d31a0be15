// Flow: gradient descent on the logits of three tokens seen on the simplex, dp/dt = p (v - p.v), v = -g.

let points = null;

/** The triangle's points: all inside the simplex, rows of falling p_0; as positions.py has them. */
function trianglePoints() {
  const n = DATA.triangleSteps;
  if (points) return points;
  points = [];
  for (let low = 0; low <= n; low++) {
    for (let k = 0; k <= low; k++) {
      const p = [n - low, low - k, k].map((i) => (i + 1 / 3) / (n + 1));
      points.push(Object.assign(p, { row: low, column: k }));
    }
  }
  return points;
}

/** dp/dt of the logits' descent. */
function velocity(p, g) {
  const mean = p.reduce((sum, value, k) => sum + value * g[k], 0);
  return p.map((value, k) => value * (mean - g[k]));
}

/** g anywhere on the triangle from g on its points, linear on each small triangle; for drawing lines. */
function interpolated(values) {
  const n = DATA.triangleSteps;
  const at = (low, k) => values[(low * (low + 1)) / 2 + k];
  return (p) => {
    const y = Math.min(Math.max(p[0] * (n + 1) - 1 / 3, 0), n - 1e-9);
    const right = Math.min(Math.max(p[2] * (n + 1) - 1 / 3, 0), n - y);
    const fall = n - y; // the row, as a real number: row `low` has entries 0 .. low
    const low = Math.min(Math.floor(fall), n - 1);
    const k = Math.min(Math.floor(right), low);
    const [down, side] = [fall - low, right - k];
    const corners =
      side <= down
        ? [
            [at(low, k), 1 - down],
            [at(low + 1, k), down - side],
            [at(low + 1, k + 1), side],
          ]
        : [
            [at(low, k), 1 - side],
            [at(Math.min(low, n), Math.min(k + 1, low)), side - down],
            [at(low + 1, k + 1), down],
          ];
    return [0, 1, 2].map((j) => corners.reduce((sum, [value, share]) => sum + value[j] * share, 0));
  };
}

const STARTS = (() => {
  const near = 0.015;
  const found = [
    [0.2, 0.56, 0.24],
    [0.2, 0.24, 0.56],
    [0.2, 0.4, 0.4],
  ]; // inside, then along the edges
  for (const share of [0.12, 0.38, 0.62, 0.88]) {
    found.push([near, (1 - near) * share, (1 - near) * (1 - share)]);
    found.push([(1 - near) * share, near, (1 - near) * (1 - share)]);
    found.push([(1 - near) * share, (1 - near) * (1 - share), near]);
  }
  return found;
})();
const STRIDE = 0.03,
  LONGEST = 60,
  STILL = 1e-7;

/** A flow line from a point: steps of one length by the midpoint rule, to an edge or where it stands still. */
function flowLine(start, gradientAt) {
  const line = [start];
  const step = (p, from, length) => {
    const v = velocity(from, gradientAt(from));
    const speed = Math.hypot(...v);
    return speed < STILL ? null : p.map((value, k) => value + (length * v[k]) / speed);
  };
  for (let p = start; line.length < LONGEST;) {
    const middle = step(p, p, STRIDE / 2);
    if (!middle || Math.min(...middle) < 1e-3) break;
    const next = step(p, middle, STRIDE);
    if (!next || Math.min(...next) < 1e-3) break;
    if (Math.hypot(...next.map((value, k) => value - (line.at(-2) ?? [9, 9, 9])[k])) < STRIDE / 2) break;
    line.push((p = next));
  }
  return line;
}

/**
 * The flow of one loss.
 * @param {(p: number[]) => number[]} gradientAt g at a point of the simplex
 * @param {number[][]} [values] g on the triangle's points, where it is known there
 */
function flowOf(gradientAt, values) {
  const found = values ?? trianglePoints().map(gradientAt);
  const arrows = trianglePoints().map((p, k) => ({ p, v: velocity(p, found[k]), row: p.row, column: p.column }));
  return { arrows, lines: STARTS.map((start) => flowLine(start, gradientAt)).filter((line) => line.length > 2) };
}
