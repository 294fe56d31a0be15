// Triangles: the flow of each chosen loss on the simplex of three tokens, side by side.

const HEIGHT = Math.sqrt(3) / 2;
/** The label stands on top, the model's favourite on the left, the third on the right. */
const onPage = ([top, left, right]) => [
  (0.5 * top + right) / (top + left + right),
  (HEIGHT * top) / (top + left + right),
];
const SHORTEST = 0.02,
  LONGER = 0.045; // arrows, in sides of the triangle

/** As many triangles as losses, as large as they get. */
function triangleFigure(view, width, height, app) {
  if (!view.losses.length)
    return words(width / 2, height / 2, "no loss chosen", { "text-anchor": "middle", fill: inks.muted });
  const count = view.losses.length || 1;
  const size = inks.font * (count > 1 ? 0.92 : 1);
  const room = { top: (count > 1 ? 1.9 : 0.8) * size, foot: 1.6 * size, side: size };
  const sideWith = (columns) => {
    const rows = Math.ceil(count / columns);
    return Math.min(width / columns - 2 * room.side, (height / rows - room.top - room.foot) / HEIGHT);
  };
  const columns = [1, 2, 3, 4].filter((one) => one <= count).sort((a, b) => sideWith(b) - sideWith(a))[0];
  const [side, rows] = [sideWith(columns), Math.ceil(count / columns)];
  return view.losses
    .map((one, k) => {
      const inRow = Math.min(columns, count - columns * Math.floor(k / columns)); // a last row stands in the middle
      const left = (width / columns) * ((k % columns) + (columns - inRow + 1) / 2) - side / 2;
      const spare = height / rows - room.top - room.foot - side * HEIGHT;
      const top = (height / rows) * Math.floor(k / columns) + room.top + Math.max(0, spare / 2);
      const place = (point) => {
        const [x, y] = onPage(point);
        return [left + side * x, top + side * (HEIGHT - y)];
      };
      const name = count > 1 ? fitting([one.title, one.short], width / columns - 4, size, 700) : "";
      return triangle(one, place, side, size, app, name);
    })
    .join("");
}

/** Outline, flow lines, arrows, the model and its target, and the names of the corners. */
function triangle(one, place, side, size, app, name) {
  const corners = [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ];
  const [top, left, right] = corners.map(place);
  const [label, second, third] = DATA.tokens;
  const line = (d, width, opacity) =>
    shape("path", {
      d,
      fill: "none",
      stroke: one.colour,
      "stroke-width": at(width * inks.wide),
      "stroke-opacity": opacity,
      "stroke-linecap": "round",
    });
  const here = pointOnTriangle(one.state);
  const target = targetOnTriangle(one, here, app);
  const spot = (kind, point, fill) =>
    mark(kind, ...place(point), 10 * inks.wide, {
      fill,
      stroke: inks.ink,
      "stroke-width": at(1.6 * inks.wide),
      "data-kind": kind === "circle" ? "model" : "target",
    });
  const sparse = side < 150 * inks.wide ? 2 : 1;
  return [
    shape("path", {
      d: `${path([top, left, right])}Z`,
      fill: "none",
      stroke: inks.muted,
      "stroke-width": at(1.2 * inks.wide),
    }),
    line(one.flow.lines.map((points) => path(points.map(place))).join(""), 1.2, 0.38),
    line(arrowPath(one.flow.arrows, place, side, sparse), 1.5, 1),
    spot("circle", here, inks.panel),
    target ? spot("diamond", target, one.colour) : "",
    words(top[0] + 0.75 * size, top[1] + 0.45 * size, label, { "font-weight": 700, "font-size": at(size) }),
    words(left[0] - 0.4 * size, left[1] + 1.25 * size, second, { "font-size": at(size) }),
    words(right[0] + 0.4 * size, right[1] + 1.25 * size, third, { "text-anchor": "end", "font-size": at(size) }),
    name
      ? words(top[0], top[1] - size, name, {
          "text-anchor": "middle",
          "font-weight": 700,
          "font-size": at(size),
          fill: one.textColour,
        })
      : "",
  ].join("");
}

/** All arrows as one path: a shaft each, longer where the flow is faster, and a head. */
function arrowPath(arrows, place, side, sparse) {
  const fastest = Math.max(0, ...arrows.map(({ v }) => Math.hypot(...v)));
  if (fastest < 1e-9) return "";
  return arrows
    .map(({ p, v, row, column }) => {
      const speed = Math.hypot(...v);
      if (speed < 1e-3 * fastest || row % sparse || column % sparse) return "";
      const length = (sparse * (SHORTEST + LONGER * Math.sqrt(speed / fastest))) / speed;
      const [from, to] = [
        place(p.map((value, k) => value - 0.5 * length * v[k])),
        place(p.map((value, k) => value + 0.5 * length * v[k])),
      ];
      const direction = Math.atan2(to[1] - from[1], to[0] - from[0]);
      const head = 0.45 * Math.hypot(to[0] - from[0], to[1] - from[1]);
      const barb = (turn) => [to[0] - head * Math.cos(direction + turn), to[1] - head * Math.sin(direction + turn)];
      return path([from, to]) + path([barb(0.45), to, barb(-0.45)]);
    })
    .join("");
}

/** Q at the model's place on the triangle, in the chosen gauge; null where it is no distribution, or not known. */
function targetOnTriangle(one, here, app) {
  if (!one.worked) return null;
  const state = makeState(triangleToken(here, app.at));
  const found = one.pulls
    ? pulled(one.pulls, state)
    : { g: interpolated(ownTriangle(one.loss, app.at))(here), trust: NaN, total: one.now.total, size: 1 };
  const { q } = readTarget(found, state, one.gauge, "label-free");
  return q.every((value) => value > -1e-6) && Math.abs(q[0] + q[1] + q[2] - 1) < 1e-6 ? q : null;
}
