// Figures: bars of p, Q and residual over the tokens, and what draws each figure. Nothing is computed here.

const QUARTER = 0.25;
const outward = (value, up) => (up ? Math.ceil(value / QUARTER - 1e-9) : Math.floor(value / QUARTER + 1e-9)) * QUARTER;

/** Gauge and reading stand beside every gamma. */
const gammaWords = (one, short) =>
  `γ ${Number.isFinite(one.now.gamma) ? shown(one.now.gamma) : "undefined"} · ${one.gauge}${short ? "" : ` gauge · ${one.now.reading} reading`}`;

/** Lowest and highest value that the bars reach; p and Q decide, a residual may be cut. */
function spanOf(losses) {
  const values = losses.flatMap(({ now }) => [...now.q, ...now.p]).filter(Number.isFinite);
  return [Math.min(0, outward(Math.min(0, ...values), false)), Math.max(1, outward(Math.max(0, ...values), true))];
}

/** One row a loss: p in grey, Q in front on the left, the residual on the right. */
function barsFigure(view, width, height) {
  const size = inks.font;
  const narrow = width < 34 * size;
  const [low, high] = spanOf(view.losses);
  const [left, right, bottom] = [2.9 * size, width - 4, height - (narrow ? 4.6 : 2) * size];
  const rows = view.losses.length || 1;
  const head = 0.7 * size; // the name of the loss stands in its row, on the right, where bars are low
  const tall = bottom / rows;
  const step = (right - left) / SIZE;
  const inside = [];
  for (let row = 0; row < rows; row++) {
    const one = view.losses[row];
    const y = scaled(low, high, (row + 1) * tall - (row + 1 < rows ? 0.3 * size : 0), row * tall + head);
    inside.push(verticalAxis(roundTicks(low, high, rows > 2 ? 2 : 4), y, left, right));
    view.now.p.forEach((p, k) =>
      inside.push(
        barShape(
          left + (k + 0.05) * step,
          0.9 * step,
          y,
          p,
          { fill: inks.model, "data-kind": "p", "data-token": k },
          `p of ${DATA.tokens[k]}: ${shown(p, 4)}`,
        ),
      ),
    );
    if (one) {
      inside.push(hatch(`hatch-${row}`, one.colour), ...lossBars(one, row, left, step, y, [low, high]));
      const name = `<tspan font-weight="700">${escaped(one.title)}</tspan>  ${escaped(gammaWords(one, narrow))}`;
      const given = {
        x: at(right),
        y: at(row * tall + head + 0.9 * size),
        "text-anchor": "end",
        fill: one.textColour,
        ...halo(),
      };
      inside.push(`<text${attributes(given)}>${name}</text>`);
    }
    inside.push(rule(left, y(0), right, y(0), inks.muted));
  }
  DATA.tokens.forEach((token, k) => {
    const x = left + (k + 0.5) * step;
    const given = { "font-weight": k ? undefined : 700, "text-anchor": narrow ? "end" : "middle" };
    const turned = narrow ? { transform: `rotate(-60 ${at(x)} ${at(bottom + size)})` } : {};
    inside.push(
      words(x + (narrow ? 0.3 * size : 0), bottom + 1.2 * size, k ? token : `▸ ${token}`, { ...given, ...turned }),
    );
  });
  return inside.join("");
}

/** A bar from 0 to a value. */
function barShape(x, width, y, value, given, title) {
  const [top, foot] = [Math.min(y(0), y(value)), Math.max(y(0), y(value))];
  return shape(
    "rect",
    { x: at(x), y: at(top), width: at(width), height: at(Math.max(foot - top, 0)), ...given, "data-value": value },
    title,
  );
}

/** Q and residual of one loss over the tokens; what is below 0 is hatched. */
function lossBars(one, row, left, step, y, [low, high]) {
  const found = [];
  one.now.q.forEach((q, k) => {
    const line = Math.abs(q) > 1e-3 ? 1.3 * inks.wide : 0;
    const given = {
      fill: q < 0 ? `url(#hatch-${row})` : one.colour,
      stroke: one.colour,
      "stroke-width": at(line),
      "data-kind": "q",
      "data-loss": row,
      "data-token": k,
    };
    if (Number.isFinite(q))
      found.push(
        barShape(
          left + (k + 0.14) * step,
          0.4 * step,
          y,
          q,
          given,
          `Q of ${DATA.tokens[k]} under ${one.title}: ${shown(q, 4)}`,
        ),
      );
    const r = one.now.residual[k];
    if (!Number.isFinite(r)) return;
    const cut = Math.min(high, Math.max(low, r));
    const pale = {
      fill: one.colour,
      "fill-opacity": 0.22,
      stroke: one.colour,
      "stroke-width": Math.abs(r) > 1e-3 ? at(0.9 * inks.wide) : 0,
      "data-kind": "residual",
      "data-loss": row,
      "data-token": k,
    };
    found.push(
      barShape(
        left + (k + 0.62) * step,
        0.24 * step,
        y,
        cut,
        pale,
        `residual on ${DATA.tokens[k]} under ${one.title}: ${shown(r, 4)}`,
      ),
    );
  });
  return found;
}

const FIGURES = {
  bars: barsFigure,
  triangle: triangleFigure,
  gamma: (...given) => curvesFigure(...given, GAMMA_KINDS, [0, 1]),
  gradient: (...given) => curvesFigure(...given, GRADIENT_KINDS, [-1, 0.5]),
};
