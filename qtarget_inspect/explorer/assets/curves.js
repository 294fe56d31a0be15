// Curves: label trust and gradient of the chosen losses against p_y, as SVG from a view.

const GAMMA_KINDS = [{ of: ({ gamma }) => gamma, name: "gamma" }];
const GRADIENT_KINDS = [
  { of: ({ gLabel }) => gLabel, name: "label" },
  { of: ({ gOther }) => gOther, name: "other", dash: true },
];
const FARTHEST = 4; // what runs away beyond this is cut
const SAME = 0.01; // curves this near to one another cover each other
const LINE = 2.2;
const MARGIN = 0.37; // the most of a figure's width that names may take

/** Ticks and scale of p_y, linear or in log-odds. */
function probabilityAxis(app, narrow) {
  if (app.axis === "linear") return { of: (p) => p, low: 0, high: 1, ticks: [0, 0.25, 0.5, 0.75, 1] };
  const ticks = narrow ? [0.01, 0.1, 0.5, 0.9, 0.99] : [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999];
  return { of: logit, low: logit(CURVE[0]), high: logit(CURVE.at(-1)), ticks };
}

/** The span of some curves: most of what they reach; a hundredth of the points may be cut. */
function spanOfCurves(losses, kinds, [low, high]) {
  const values = losses.flatMap(({ curve }) => curve.flatMap((point) => kinds.map((kind) => kind.of(point))));
  const all = values.filter(Number.isFinite).sort((a, b) => a - b);
  const reached = (share) => all[Math.round(share * (all.length - 1))] ?? 0;
  const [least, most] = [outward(reached(0.01), false), outward(reached(0.99), true)];
  return [Math.max(-FARTHEST, Math.min(low, least)), Math.min(FARTHEST, Math.max(high, most))];
}

/**
 * Curves over p_y with the slider's place marked, and names at their right ends.
 * @param {{of: (point: object) => number, dash?: boolean, name: string}[]} kinds what is drawn of each loss
 * @param {number[]} least the span that is always shown
 */
function curvesFigure(view, width, height, app, kinds, least) {
  const size = inks.font;
  const narrow = width < 30 * size;
  const names = view.losses.map(({ title, short }) => fitting([title, short], MARGIN * width, size));
  const axis = probabilityAxis(app, narrow);
  const [low, high] = spanOfCurves(view.losses, kinds, least);
  const left = 2.9 * size;
  const right = width - 0.9 * size - Math.max(0, ...names.map((name) => widthOf(name, size)));
  const [top, bottom] = [0.7 * size, height - 2.6 * size];
  const acrossOf = scaled(axis.low, axis.high, left, right);
  const plot = {
    left,
    right,
    top,
    bottom,
    low,
    high,
    axis,
    x: (p) => acrossOf(axis.of(p)),
    y: scaled(low, high, bottom, top),
  };
  const losses = view.losses;
  return [
    verticalAxis(roundTicks(low, high, 4), plot.y, left, right),
    axisOfProbability(plot),
    rule(plot.x(app.at.p), top, plot.x(app.at.p), bottom, inks.muted, { "stroke-dasharray": dashes(2, 3) }),
    curveLines(losses, kinds, plot),
    ...losses.flatMap((one, row) => kinds.map((kind) => placeNow(one, row, kind, plot, app.at.p))),
    namesAtEnds(losses, names, kinds[0], plot),
  ].join("");
}

const dashes = (line, gap) => `${line * inks.wide} ${gap * inks.wide}`;

/** The line below, its ticks, and what it measures. */
function axisOfProbability({ left, right, bottom, axis, x }) {
  const size = inks.font;
  const ticks = axis.ticks.map((p) => {
    const number = tickWords(x(p), bottom + 1.25 * size, tickText(p), { "text-anchor": "middle" });
    return rule(x(p), bottom, x(p), bottom + 3, inks.muted) + number;
  });
  const name = labelProbabilityWords((left + right) / 2, bottom + 2.2 * size);
  return [rule(left, bottom, right, bottom, inks.muted), ...ticks, name].join("");
}

/** The curves, cut to the plot. One that later ones cover is drawn wider, so that its colour is seen on both sides. */
function curveLines(losses, kinds, { left, right, top, bottom, x, y }) {
  const frame = shape("rect", { x: left, y: at(top - 3), width: at(right - left), height: at(bottom - top + 6) });
  const far = (value) => Math.min(9e3, Math.max(-9e3, value));
  const lines = losses.flatMap((one, row) =>
    kinds.map((kind) => {
      const above = losses.slice(row + 1).filter((later) => areSame(one, later, kind)).length;
      const given = {
        d: path(one.curve.map((point) => [x(point.p), y(far(kind.of(point)))])),
        fill: "none",
        stroke: one.colour,
        "stroke-width": at((LINE + 2.6 * above) * inks.wide),
        "stroke-dasharray": kind.dash ? dashes(7, 4) : undefined,
        "stroke-linejoin": "round",
        "data-kind": kind.name,
        "data-loss": row,
      };
      return shape("path", given, one.title);
    }),
  );
  const clip = `clip-${kinds[0].name}`;
  return `<clipPath id="${clip}">${frame}</clipPath><g clip-path="url(#${clip})">${lines.join("")}</g>`;
}

/** Whether two losses have the same curve. */
function areSame(one, other, kind) {
  if (one.curve.length !== other.curve.length) return false;
  return one.curve.every((point, k) => Math.abs(kind.of(point) - kind.of(other.curve[k])) < SAME);
}

/** The mark of a loss where the slider stands; none where that lies outside the plot. */
function placeNow({ now, mark: kindOfMark, colour }, row, kind, { low, high, x, y }, p) {
  const value = kind.of({ gamma: now.gamma, gLabel: now.g[0], gOther: now.g[1] });
  if (!(value >= low && value <= high)) return "";
  const fill = kind.dash ? inks.panel : colour;
  const told = { "data-kind": `${kind.name} now`, "data-loss": row, "data-value": value };
  const given = { fill, stroke: colour, "stroke-width": at(2 * inks.wide), ...told };
  return mark(kindOfMark, x(p), y(value), 9 * inks.wide, given);
}

/** Names beside the right ends of the curves, pushed apart where these meet. */
function namesAtEnds(losses, names, kind, { right, top, bottom, low, high, y }) {
  const size = inks.font;
  const ends = losses.map(({ curve }) => {
    const value = kind.of(curve.at(-1));
    return y(Math.min(high, Math.max(low, Number.isFinite(value) ? value : low)));
  });
  const heights = apart(ends, 1.2 * size, top + 0.3 * size, bottom);
  const given = (k) => ({ "dominant-baseline": "central", fill: losses[k].textColour });
  const isThere = losses.map(({ curve }) => curve.some((point) => Number.isFinite(kind.of(point))));
  return heights.map((height, k) => (isThere[k] ? words(right + 0.5 * size, height, names[k], given(k)) : "")).join("");
}
