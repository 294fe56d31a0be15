// Figures: bars of p, Q and residual over the tokens, and what draws each figure. Nothing is computed here.

const QUARTER = 0.25;
const GAP = 0.6; // between a name and its gamma, in sizes of type
const outward = (value, up) => (up ? Math.ceil(value / QUARTER - 1e-9) : Math.floor(value / QUARTER + 1e-9)) * QUARTER;

/**
 * A name and a gamma a row, gauge and reading beside it, all rows in the same words: the most that there is room for.
 * @returns {[string, string][]}
 */
function rowWords(losses, room, size) {
  const worded = ({ gauge, now }, how) =>
    `γ ${Number.isFinite(now.gamma) ? shown(now.gamma, 3, now.noise.gamma) : "undefined"} · ${how(gauge, now.reading)}`;
  const ways = [
    (gauge, reading) => `${gauge} gauge · ${reading} reading`,
    (gauge, reading) => `${gauge} · ${reading}`,
    (gauge) => gauge,
  ];
  const rowsIn = (name, how) => losses.map((one) => [one[name], worded(one, how)]);
  const width = ([name, rest]) => widthOf(name, size, 700) + GAP * size + widthOf(rest, size);
  const found = ["title", "short"].flatMap((name) => ways.map((how) => rowsIn(name, how)));
  const left = (rest) => room - GAP * size - widthOf(rest, size);
  return (
    found.find((rows) => rows.every((row) => width(row) <= room)) ??
    found.at(-1).map(([name, rest]) => [fitting([name], left(rest), size, 700), rest])
  );
}

/** How the tokens' names stand below the bars: in a smaller type where they would touch, turned where that is not enough. */
function nameRow(step) {
  const size = inks.font;
  const wide = DATA.tokens.map((token, k) => widthOf(k ? token : `▸ ${token}`, size, k ? 400 : 700));
  const pairs = wide.slice(1).map((one, k) => (one + wide[k]) / 2 + 0.45 * size);
  const share = Math.min(1, step / Math.max(...pairs));
  if (share >= 0.8) return { size: share * size, turned: false, height: 2 * size };
  return { size, turned: true, height: 0.87 * Math.max(...wide) + 1.1 * size };
}

/** Lowest and highest value that the bars reach; p and Q decide, a residual may be cut. */
function spanOf(losses) {
  const values = losses.flatMap(({ now }) => [...now.q, ...now.p]).filter(Number.isFinite);
  return [Math.min(0, outward(Math.min(0, ...values), false)), Math.max(1, outward(Math.max(0, ...values), true))];
}

/** One row a loss: p in grey, Q in front on the left, the residual on the right. */
function barsFigure(view, width, height) {
  const size = inks.font;
  const [low, high] = spanOf(view.losses);
  const [left, right] = [2.9 * size, width - 4];
  const step = (right - left) / SIZE;
  const names = nameRow(step);
  const bottom = height - names.height;
  const rows = view.losses.length || 1;
  const head = 0.7 * size; // the name of the loss stands in its row, on the right, where bars are low
  const tall = bottom / rows;
  const told = rowWords(view.losses, right - left - step, size);
  const inside = [];
  for (let row = 0; row < rows; row++) {
    const one = view.losses[row];
    const y = scaled(low, high, (row + 1) * tall - (row + 1 < rows ? 0.3 * size : 0), row * tall + head);
    const ticks = tall > 9 * size ? roundTicks(low, high, 4) : [...(low < 0 && tall > 7 * size ? [low] : []), 0, 1];
    inside.push(verticalAxis(ticks, y, left, right));
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
      const [title, rest] = told[row];
      const name = `<tspan font-weight="700">${escaped(title)}</tspan><tspan dx="${GAP}em">${escaped(rest)}</tspan>`;
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
    const given = { "font-weight": k ? undefined : 700, "font-size": at(names.size), "data-kind": "name" };
    const turned = { "text-anchor": "end", transform: `rotate(-60 ${at(x)} ${at(bottom + size)})` };
    const place = names.turned ? turned : { "text-anchor": "middle" };
    const text = k ? token : `▸ ${token}`;
    inside.push(words(x + (names.turned ? 0.3 * size : 0), bottom + 1.2 * size, text, { ...given, ...place }));
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
      fill: q < -one.now.noise.q ? `url(#hatch-${row})` : one.colour,
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
          `Q of ${DATA.tokens[k]} under ${one.title}: ${shown(q, 4, one.now.noise.q)}`,
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
        `residual on ${DATA.tokens[k]} under ${one.title}: ${shown(r, 4, one.now.noise.residual)}`,
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
