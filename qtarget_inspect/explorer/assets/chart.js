// Chart: the few shapes that the figures are made of, as SVG text; fast, crisp on a projector, and saved as it stands.

const escaped = (text) =>
  String(text).replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
const attributes = (given) =>
  Object.entries(given)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${escaped(value)}"`)
    .join("");
const at = (number) => Number(number.toFixed(2));

/** A shape; `title` is what a pointer that rests on it shows. */
function shape(name, given, title) {
  return title
    ? `<${name}${attributes(given)}><title>${escaped(title)}</title></${name}>`
    : `<${name}${attributes(given)}/>`;
}

/** A thin straight line. */
function rule(x1, y1, x2, y2, stroke, given = {}) {
  return shape("line", { x1: at(x1), y1: at(y1), x2: at(x2), y2: at(y2), stroke, "stroke-width": inks.wide, ...given });
}

/** A word or two. */
function words(x, y, text, given = {}) {
  return `<text${attributes({ x: at(x), y: at(y), ...given })}>${escaped(text)}</text>`;
}

/** "p_y" with its index set lower. */
function labelProbabilityWords(x, y) {
  const given = { x: at(x), y: at(y), "text-anchor": "middle" };
  return `<text${attributes(given)}>p<tspan dy="0.25em" font-size="75%">y</tspan></text>`;
}

/** What keeps words that stand on lines apart from these. */
const halo = () => ({
  "paint-order": "stroke",
  stroke: inks.panel,
  "stroke-width": at(4 * inks.wide),
  "stroke-linejoin": "round",
});

/** A word or two beside a tick. */
const tickWords = (x, y, text, given) =>
  words(x, y, text, { "font-size": at(inks.font * 0.88), fill: inks.muted, ...given });

/** The path through some points; a point without a finite place is a gap. */
function path(points) {
  let pen = "M";
  return points
    .map(([x, y]) => {
      if (!Number.isFinite(x) || !Number.isFinite(y)) {
        pen = "M";
        return "";
      }
      const step = `${pen}${at(x)} ${at(y)}`;
      pen = "L";
      return step;
    })
    .join("");
}

/** A linear scale from values to pixels. */
const scaled = (low, high, from, to) => (value) => from + ((value - low) / (high - low)) * (to - from);

/** Round numbers between two, about as many as asked for. */
function roundTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((one) => one >= rough - 1e-12);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9; k++) found.push(Number((k * step).toFixed(10)));
  return found;
}

const tickText = (value) =>
  rounded(value, 6)
    .replace(/^(-?)0\./, "$1.")
    .replace("-", "−");

/** Grid lines and numbers of a vertical scale. */
function verticalAxis(ticks, y, left, right) {
  return ticks
    .map((value) => {
      const line = rule(left, y(value), right, y(value), value === 0 ? inks.muted : inks.line);
      return (
        line +
        tickWords(left - 0.4 * inks.font, y(value), tickText(value), {
          "text-anchor": "end",
          "dominant-baseline": "central",
        })
      );
    })
    .join("");
}

/** A mark of a kind around a point. */
function mark(kind, x, y, size, given) {
  const half = size / 2;
  const corners = {
    square: [
      [-half, -half],
      [half, -half],
      [half, half],
      [-half, half],
    ],
    diamond: [
      [0, -1.25 * half],
      [1.25 * half, 0],
      [0, 1.25 * half],
      [-1.25 * half, 0],
    ],
    triangle: [
      [0, -1.2 * half],
      [1.15 * half, half],
      [-1.15 * half, half],
    ],
  }[kind];
  if (!corners) return shape("circle", { cx: at(x), cy: at(y), r: at(half), ...given });
  return shape("path", { d: `${path(corners.map(([dx, dy]) => [x + dx, y + dy]))}Z`, ...given });
}

/** A pattern of slanted lines, for negative mass. */
function hatch(id, colour) {
  const step = 5 * inks.wide;
  const line = shape("line", { x1: 0, y1: 0, x2: 0, y2: step, stroke: colour, "stroke-width": 2.6 * inks.wide });
  const ground = shape("rect", { width: step, height: step, fill: inks.panel });
  const given = { id, width: step, height: step, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
  return `<pattern${attributes(given)}>${ground}${line}</pattern>`;
}

/** A whole figure. */
function drawing(width, height, inside) {
  const given = {
    xmlns: "http://www.w3.org/2000/svg",
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    "font-family": FONT,
    "font-size": at(inks.font),
    fill: inks.ink,
    "aria-hidden": "true",
  };
  return `<svg${attributes(given)}>${shape("rect", { width, height, fill: inks.panel })}${inside}</svg>`;
}

const widths = new Map();
const ruler = document.createElement("canvas").getContext("2d");

/** How wide a text is, in pixels. */
function widthOf(text, size, weight = 400) {
  const key = `${size} ${weight} ${text}`;
  if (!widths.has(key)) {
    ruler.font = `${weight} ${size}px ${FONT}`;
    widths.set(key, ruler.measureText(text).width);
  }
  return widths.get(key);
}

/** The first of some texts that fits a width; where none does, the last one cut at its end. */
function fitting(texts, room, size, weight) {
  const found = texts.find((text) => widthOf(text, size, weight) <= room);
  if (found !== undefined) return found;
  let text = texts.at(-1);
  while (text.length > 1 && widthOf(`${text}…`, size, weight) > room) text = text.slice(0, -1);
  return `${text}…`;
}

/** Heights of labels pushed apart so that none covers another, within two bounds. */
function apart(heights, least, low, high) {
  const order = heights.map((_, k) => k).sort((a, b) => heights[a] - heights[b]);
  const placed = [...heights];
  order.forEach((k, rank) => {
    placed[k] = Math.max(placed[k], rank ? placed[order[rank - 1]] + least : low);
  });
  for (let rank = order.length - 1; rank >= 0; rank--) {
    const below = rank === order.length - 1 ? high : placed[order[rank + 1]] - least;
    placed[order[rank]] = Math.min(placed[order[rank]], below);
  }
  return placed;
}
