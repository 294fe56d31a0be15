// Own: a user's loss, whose targets the engine has worked out at every position of the sliders.

/** float32 numbers from base64, as grid.py packs them. */
function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

/** A record of grid.py made ready: arrays instead of text, and the sliders that it depends on. */
function ownLoss(record) {
  return {
    ...record,
    own: true,
    parameters: [],
    axes: Object.keys(record.axes),
    values: record.axes,
    targets: unpacked(record.targets),
    triangle: unpacked(record.triangle),
  };
}

/** Whether the sliders stand where the loss was worked out; those that were not moved for it must stay put. */
function isWorkedOut(loss, at) {
  return Object.entries(loss.held).every(([axis, value]) => at[axis] === value);
}

/** Index of a number among the positions of a slider. */
function indexOf(values, value) {
  const index = values.indexOf(value);
  if (index < 0) throw new Error(`no position ${value}`);
  return index;
}

/**
 * What `pulled` gives, looked up: g, the pull to the label and the total pull (NaN where no known pulls explain Q).
 * @param {object} state the same token, for its p
 */
function ownPulled(loss, at, state) {
  const { positions } = DATA;
  let row = 0;
  for (const axis of loss.axes) row = row * loss.values[axis].length + indexOf(loss.values[axis], at[axis]);
  row = row * positions.shape.length + indexOf(positions.shape, at.shape);
  row = row * positions.p.length + indexOf(positions.p, at.p);
  const width = state.size + 2;
  const numbers = loss.targets.subarray(row * width, (row + 1) * width);
  const g = state.p.map((p, k) => p - numbers[k]);
  const [trust, total] = [numbers[state.size], numbers[state.size + 1]];
  return { g, trust, total, size: Math.abs(trust) + Math.abs(total) };
}

/** g on the triangle's points, [M][3]; null where the loss was not worked out. */
function ownTriangle(loss, at) {
  if (!isWorkedOut(loss, at)) return null;
  const points = trianglePoints().length;
  let block = 0;
  for (const axis of loss.axes) {
    const values = loss.values[axis];
    block =
      axis === "favourite" ? block * 2 + Number(at.favourite > 0) : block * values.length + indexOf(values, at[axis]);
  }
  const start = block * points * 3;
  return Array.from({ length: points }, (_, k) => [...loss.triangle.subarray(start + 3 * k, start + 3 * k + 3)]);
}
