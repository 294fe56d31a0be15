// Figures: bars of p, Q and residual; label trust and gradient against p_y. SVG from a view; nothing is computed here.

const QUARTER = 0.25;
const outward = (value, up) => (up ? Math.ceil(value / QUARTER - 1e-9) : Math.floor(value / QUARTER + 1e-9)) * QUARTER;

/** Gauge and reading stand beside every gamma. */
const gammaWords = (one, short) => `γ ${shown(one.now.gamma)} · ${one.gauge}${short ? "" : ` gauge · ${one.now.reading} reading`}`;

/** Lowest and highest value that the bars reach; p and Q decide, a residual may be cut. */
function spanOf(losses) {
  const values = losses.flatMap(({ now }) => [...now.q, ...now.p]).filter(Number.isFinite);
  return [Math.min(0, outward(Math.min(0, ...values), false)), Math.max(1, outward(Math.max(0, ...values), true))];
}

/** One row a loss: p in grey, Q in front on the left, the residual on the right. */
function barsFigure(view, width, height) {
  const size = inks.font, narrow = width < 34 * size;
  const [low, high] = spanOf(view.losses);
  const left = 2.9 * size, right = width - 4, bottom = height - (narrow ? 4.6 : 2) * size;
  const rows = view.losses.length || 1;
  const head = 1.5 * size; // the name of the loss stands above its row
  const tall = bottom / rows;
  const step = (right - left) / SIZE;
  const inside = [];
  for (let row = 0; row < rows; row++) {
    const one = view.losses[row];
    const y = scaled(low, high, (row + 1) * tall - (row + 1 < rows ? 0.45 * size : 0), row * tall + head);
    inside.push(verticalAxis(roundTicks(low, high, rows > 2 ? 2 : 4), y, left, right));
    view.now.p.forEach((p, k) => inside.push(barShape(left + (k + 0.05) * step, 0.9 * step, y, p, { fill: inks.model, "data-kind": "p", "data-token": k }, `p of ${DATA.tokens[k]}: ${shown(p, 4)}`)));
    if (one) inside.push(hatch(`hatch-${row}`, one.colour), ...lossBars(one, row, left, step, y, [low, high]));
    if (one) {
      const name = `<tspan font-weight="700">${escaped(one.title)}</tspan>  ${escaped(gammaWords(one, narrow))}`;
      inside.push(`<text x="${at(right)}" y="${at(row * tall + 0.75 * head)}" text-anchor="end" fill="${one.textColour}">${name}</text>`);
    }
    const zero = at(y(0));
    inside.push(shape("line", { x1: at(left), x2: at(right), y1: zero, y2: zero, stroke: inks.muted, "stroke-width": inks.wide }));
  }
  DATA.tokens.forEach((token, k) => {
    const x = left + (k + 0.5) * step;
    const given = { "font-weight": k ? undefined : 700, "text-anchor": narrow ? "end" : "middle" };
    const turned = narrow ? { transform: `rotate(-60 ${at(x)} ${at(bottom + size)})` } : {};
    inside.push(words(x + (narrow ? 0.3 * size : 0), bottom + 1.2 * size, k ? token : `▸ ${token}`, { ...given, ...turned }));
  });
  return inside.join("");
}

/** A bar from 0 to a value. */
function barShape(x, width, y, value, given, title) {
  const [top, foot] = [Math.min(y(0), y(value)), Math.max(y(0), y(value))];
  return shape("rect", { x: at(x), y: at(top), width: at(width), height: at(Math.max(foot - top, 0)), ...given, "data-value": value }, title);
}

/** Q and residual of one loss over the tokens; what is below 0 is hatched. */
function lossBars(one, row, left, step, y, [low, high]) {
  const found = [];
  one.now.q.forEach((q, k) => {
    const line = Math.abs(q) > 1e-3 ? 1.3 * inks.wide : 0;
    const given = { fill: q < 0 ? `url(#hatch-${row})` : one.colour, stroke: one.colour, "stroke-width": at(line), "data-kind": "q", "data-loss": row, "data-token": k };
    if (Number.isFinite(q)) found.push(barShape(left + (k + 0.14) * step, 0.4 * step, y, q, given, `Q of ${DATA.tokens[k]} under ${one.title}: ${shown(q, 4)}`));
    const r = one.now.residual[k];
    if (!Number.isFinite(r)) return;
    const cut = Math.min(high, Math.max(low, r));
    const pale = { fill: one.colour, "fill-opacity": 0.22, stroke: one.colour, "stroke-width": Math.abs(r) > 1e-3 ? at(0.9 * inks.wide) : 0, "data-kind": "residual", "data-loss": row, "data-token": k };
    found.push(barShape(left + (k + 0.62) * step, 0.24 * step, y, cut, pale, `residual on ${DATA.tokens[k]} under ${one.title}: ${shown(r, 4)}`));
  });
  return found;
}

/** Ticks and scale of p_y, linear or in log-odds. */
function probabilityAxis(app, narrow) {
  if (app.axis === "linear") return { of: (p) => p, low: 0, high: 1, ticks: [0, 0.25, 0.5, 0.75, 1] };
  const ticks = narrow ? [0.01, 0.1, 0.5, 0.9, 0.99] : [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999];
  return { of: logit, low: logit(CURVE[0]), high: logit(CURVE.at(-1)), ticks };
}

/**
 * Curves over p_y with the slider's place marked, and names at their right ends.
 * @param {{of: (point: object) => number, dash?: boolean, name: string}[]} kinds what is drawn of each loss
 * @param {number[]} least the span that is always shown
 */
function curvesFigure(view, width, height, app, kinds, least) {
  const size = inks.font, narrow = width < 30 * size;
  const longest = narrow ? 12 : 24;
  const names = view.losses.map(({ title }) => (title.length > longest ? `${title.slice(0, longest - 1)}…` : title));
  const axis = probabilityAxis(app, narrow);
  const [low, high] = spanOfCurves(view.losses, kinds, least);
  const left = 2.9 * size, right = width - 0.9 * size - Math.max(0, ...names.map((name) => widthOf(name, size)));
  const top = 0.7 * size, bottom = height - 2.6 * size;
  const x = scaled(axis.low, axis.high, left, right), y = scaled(low, high, bottom, top);
  const inside = [verticalAxis(roundTicks(low, high, 4), y, left, right)];
  const place = at(x(axis.of(app.at.p)));
  inside.push(shape("line", { x1: at(left), x2: at(right), y1: at(bottom), y2: at(bottom), stroke: inks.muted, "stroke-width": inks.wide }));
  for (const p of axis.ticks) {
    const spot = x(axis.of(p));
    inside.push(shape("line", { x1: at(spot), x2: at(spot), y1: at(bottom), y2: at(bottom + 3), stroke: inks.muted, "stroke-width": inks.wide }));
    inside.push(words(spot, bottom + 1.25 * size, tickText(p), { "text-anchor": "middle", "font-size": at(size * 0.88), fill: inks.muted }));
  }
  inside.push(words((left + right) / 2, bottom + 2.2 * size, "p_y", { "text-anchor": "middle" }));
  inside.push(shape("line", { x1: place, x2: place, y1: at(top), y2: at(bottom), stroke: inks.muted, "stroke-width": inks.wide, "stroke-dasharray": `${2 * inks.wide} ${3 * inks.wide}` }));
  inside.push(`<clipPath id="clip-${kinds[0].name}">${shape("rect", { x: left, y: at(top - 3), width: at(right - left), height: at(bottom - top + 6) })}</clipPath>`);
  const lines = view.losses.flatMap((one, row) =>
    kinds.map((kind) => {
      const d = path(one.curve.map((point) => [x(axis.of(point.p)), y(Math.min(9e3, Math.max(-9e3, kind.of(point))))]));
      const dash = kind.dash ? `${7 * inks.wide} ${4 * inks.wide}` : undefined;
      return shape("path", { d, fill: "none", stroke: one.colour, "stroke-width": at(2.2 * inks.wide), "stroke-dasharray": dash, "stroke-linejoin": "round", "data-kind": kind.name, "data-loss": row }, one.title);
    }),
  );
  inside.push(`<g clip-path="url(#clip-${kinds[0].name})">${lines.join("")}</g>`);
  view.losses.forEach((one, row) => {
    for (const kind of kinds) {
      const value = kind.of({ gamma: one.now.gamma, gLabel: one.now.g[0], gOther: one.now.g[1] });
      if (!Number.isFinite(value) || value < low || value > high) continue;
      inside.push(mark(one.mark, place, y(value), 9 * inks.wide, { fill: kind.dash ? inks.panel : one.colour, stroke: one.colour, "stroke-width": at(2 * inks.wide), "data-kind": `${kind.name} now`, "data-loss": row, "data-value": value }));
    }
  });
  const ends = view.losses.map(({ curve }) => {
    const value = kinds[0].of(curve.at(-1));
    return y(Math.min(high, Math.max(low, Number.isFinite(value) ? value : low)));
  });
  apart(ends, 1.2 * size, top + 0.3 * size, bottom).forEach((spot, k) => {
    inside.push(words(right + 0.5 * size, spot, names[k].replaceAll("_", " "), { "dominant-baseline": "central", fill: view.losses[k].textColour }));
  });
  return inside.join("");
}

/** The span of some curves: most of what they reach; a hundredth of the points may be cut, and all beyond 4. */
function spanOfCurves(losses, kinds, [low, high]) {
  const all = losses.flatMap(({ curve }) => curve.flatMap((point) => kinds.map((kind) => kind.of(point)))).filter(Number.isFinite);
  all.sort((a, b) => a - b);
  const reached = (share) => all[Math.round(share * (all.length - 1))] ?? 0;
  return [Math.max(-4, Math.min(low, outward(reached(0.01), false))), Math.min(4, Math.max(high, outward(reached(0.99), true)))];
}

const GAMMA_KINDS = [{ of: ({ gamma }) => gamma, name: "gamma" }];
const GRADIENT_KINDS = [{ of: ({ gLabel }) => gLabel, name: "label" }, { of: ({ gOther }) => gOther, name: "other", dash: true }];

const FIGURES = {
  bars: barsFigure,
  triangle: triangleFigure,
  gamma: (view, width, height, app) => curvesFigure(view, width, height, app, GAMMA_KINDS, [0, 1]),
  gradient: (view, width, height, app) => curvesFigure(view, width, height, app, GRADIENT_KINDS, [-1, 0.5]),
};
